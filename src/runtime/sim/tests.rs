//! What the world promises those who test with it.

use super::*;
use crate::runtime::buffer::{Arena, ChunkClass, SLAB_BYTES};
use crate::runtime::disk::{DiskRing, OpenMode, Piece, WriteSync};
use crate::runtime::net::{Listener, Stream, Want};
use crate::runtime::{clock, executor, fs};
use std::io::IoSlice;
use std::path::{Path, PathBuf};

const BLOCK: usize = 4096;
const PATH: &str = "/data/log";

/// Runs `main` as a process of its own until it ends; what it gave, and the world after.
fn run<T: 'static, F: Future<Output = T> + 'static>(world: &World, main: impl FnOnce() -> F) -> T {
    let process = world.new_process();
    let slot = Rc::new(RefCell::new(None));
    let result = Rc::clone(&slot);
    let future = world.enter(main);
    world.spawn(process, 0, async move {
        *result.borrow_mut() = Some(future.await);
    });
    world.run_until(Duration::from_secs(60), || slot.borrow().is_some());
    slot.take().expect("it ends within a minute")
}

fn piece(arena: &Arena, fill: u8) -> Vec<Piece> {
    let chunk = arena.alloc(ChunkClass::Small).unwrap();
    chunk.copy_in(0, &[fill; BLOCK]);
    vec![Piece {
        chunk,
        start: 0,
        len: BLOCK,
    }]
}

/// Makes a file of eight blocks whose name and zeros are durable.
async fn prepared(ring: &DiskRing) -> crate::runtime::disk::File {
    fs::create_directories(Path::new("/data")).unwrap();
    fs::sync_directory(Path::new("/")).unwrap();
    let file = ring
        .open_direct(Path::new(PATH), OpenMode::DirectCreate)
        .await
        .unwrap();
    ring.allocate(&file, 8 * BLOCK as u64).await.unwrap();
    ring.sync(&file).await.unwrap();
    ring.sync_directory(Path::new("/data")).await.unwrap();
    file
}

fn blocks(world: &World) -> Vec<u8> {
    let bytes = world.disk().bytes(Path::new(PATH)).unwrap_or_default();
    bytes.chunks(BLOCK).map(|block| block[0]).collect()
}

/// One write of each kind, then the power goes.
fn after_power_cut(seed: u64, lies: DiskLies) -> Vec<u8> {
    let world = World::new(seed);
    world.disk().set_lies(lies);
    run(&world, || async {
        let ring = DiskRing::here();
        let arena = Arena::new(4 * SLAB_BYTES).unwrap();
        let file = prepared(&ring).await;
        ring.write(&file, 0, piece(&arena, 1), WriteSync::Dsync)
            .await
            .unwrap();
        ring.write(&file, BLOCK as u64, piece(&arena, 2), WriteSync::None)
            .await
            .unwrap();
        ring.sync(&file).await.unwrap();
        ring.write(&file, 2 * BLOCK as u64, piece(&arena, 3), WriteSync::None)
            .await
            .unwrap();
    });
    world.cut_power();
    blocks(&world)
}

#[test]
fn what_was_synced_survives_the_power_and_what_was_not_may_not() {
    let mut lost = 0;
    for seed in 0..64 {
        let blocks = after_power_cut(seed, DiskLies::default());
        assert_eq!(blocks[..2], [1, 2], "seed {seed}");
        lost += u32::from(blocks[2] != 3);
    }
    assert!((1..64).contains(&lost), "{lost} of 64 lost the unsynced block");
}

#[test]
fn a_lying_disk_loses_what_it_called_durable() {
    let lies = DiskLies {
        dsync_is_volatile: true,
        ..DiskLies::default()
    };
    // The sync of the file would cover the first block, so look for a write that only asked to be durable itself.
    let lost = (0..64).filter(|seed| {
        let world = World::new(*seed);
        world.disk().set_lies(lies);
        run(&world, || async {
            let ring = DiskRing::here();
            let arena = Arena::new(4 * SLAB_BYTES).unwrap();
            let file = prepared(&ring).await;
            ring.write(&file, 0, piece(&arena, 1), WriteSync::Dsync)
                .await
                .unwrap();
        });
        world.cut_power();
        blocks(&world)[0] != 1
    });
    assert!(lost.count() > 0);
}

#[test]
fn names_survive_when_their_directory_was_synced() {
    let survives = |seed: u64, sync: bool| {
        let world = World::new(seed);
        run(&world, move || async move {
            let ring = DiskRing::here();
            drop(prepared(&ring).await);
            ring.rename(Path::new(PATH), Path::new("/data/renamed"))
                .await
                .unwrap();
            if sync {
                ring.sync_directory(Path::new("/data")).await.unwrap();
            }
        });
        world.cut_power();
        let names: Vec<PathBuf> = world.disk().files().into_iter().map(|(path, _)| path).collect();
        assert_eq!(names.len(), 1, "a rename leaves one name, seed {seed}: {names:?}");
        names[0] == Path::new("/data/renamed")
    };
    assert!((0..32).all(|seed| survives(seed, true)));
    let kept = (0..32).filter(|seed| survives(*seed, false)).count();
    assert!(
        (1..32).contains(&kept),
        "{kept} of 32 kept a rename nobody synced"
    );
}

#[test]
fn a_killed_process_leaves_the_cache_and_half_of_what_was_under_way() {
    let landed = (0..32).filter(|seed| {
        let world = World::new(*seed);
        let process = world.new_process();
        world.spawn(process, 0, async {
            let ring = DiskRing::here();
            let arena = Arena::new(4 * SLAB_BYTES).unwrap();
            let file = prepared(&ring).await;
            ring.write(&file, 0, piece(&arena, 1), WriteSync::None)
                .await
                .unwrap();
            executor::spawn(async move {
                let _never = ring
                    .write(&file, BLOCK as u64, piece(&arena, 2), WriteSync::None)
                    .await;
            });
            std::future::pending::<()>().await;
        });
        let disk = world.disk().clone();
        assert!(
            world.run_until(Duration::from_secs(1), || disk.counters().writes == 1
                && disk.in_flight() == 1)
        );
        world.kill(process);
        assert_eq!(blocks(&world)[0], 1, "the cache stays");
        blocks(&world)[1] == 2
    });
    assert!((1..32).contains(&landed.count()));
}

#[test]
fn bytes_cross_a_connection_in_order_and_its_end_is_seen() {
    let world = World::new(7);
    let address = "10.0.0.2:9092".parse().unwrap();
    let listener = Listener::simulated(world.net().listen(address));
    let server = world.new_process();
    world.spawn(server, 0, async move {
        let stream = listener.accept().await.unwrap();
        let (count, bytes) = stream.read(Vec::with_capacity(200_000), 200_000, Want::All).await;
        assert_eq!(count.unwrap(), 200_000);
        let mut sent = 0;
        while sent < bytes.len() {
            sent += stream.write_some(&[IoSlice::new(&bytes[sent..])]).await.unwrap();
        }
    });
    let net = world.net().clone();
    let echoed = run(&world, move || async move {
        let (socket, peer) = net.connect(address).unwrap();
        let stream = Stream::simulated(socket, peer);
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut sent = 0;
        while sent < bytes.len() {
            sent += stream.write_some(&[IoSlice::new(&bytes[sent..])]).await.unwrap();
        }
        let (count, back) = stream.read(Vec::with_capacity(300_000), 300_000, Want::All).await;
        assert_eq!(count.unwrap(), 200_000, "the end comes behind the last byte");
        back == bytes
    });
    assert!(echoed);
}

#[test]
fn time_jumps_to_the_next_event_and_a_stalled_thread_waits() {
    let world = World::new(1);
    let process = world.new_process();
    let woke: Rc<Cell<Option<Duration>>> = Rc::default();
    let slot = Rc::clone(&woke);
    let began = world.now();
    world.spawn(process, 3, async move {
        executor::sleep(Duration::from_secs(3600)).await;
        slot.set(Some(clock::now().since(began)));
    });
    world.run_for(Duration::from_secs(10));
    world.stall(process, 3, Duration::from_secs(2 * 3600));
    world.run_until(Duration::from_secs(5 * 3600), || woke.get().is_some());
    let woke = woke.get().unwrap();
    assert!(
        woke >= Duration::from_secs(2 * 3600) && woke < Duration::from_secs(3 * 3600),
        "{woke:?}"
    );
    assert!(world.steps() < 100);
}

#[test]
fn one_seed_gives_one_trace() {
    let trace = |seed| {
        let world = World::new(seed);
        run(&world, || async {
            let ring = DiskRing::here();
            let arena = Arena::new(4 * SLAB_BYTES).unwrap();
            let file = prepared(&ring).await;
            for block in 0..4 {
                let (ring, file, pieces) = (ring.clone(), file.clone(), piece(&arena, block));
                executor::spawn(async move {
                    let position = u64::from(block) * BLOCK as u64;
                    ring.write(&file, position, pieces, WriteSync::Dsync)
                        .await
                        .unwrap();
                });
            }
            executor::sleep(Duration::from_millis(50)).await;
        });
        world.cut_power();
        (world.trace(), world.steps())
    };
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5), trace(6));
}
