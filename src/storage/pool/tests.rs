//! The pool and the log on a real ring and real files, driven as a shard drives them.

use super::*;
use crate::base::Offset;
use crate::runtime::buffer::{BLOCK_BYTES, SLAB_BYTES};
use crate::storage::layout::{DataDir, index_name, segment_name};
use crate::storage::log::{Action, Durability, Log};
use crate::storage::read::{ReadFormat, Walked, Want, gather};
use crate::storage::recovery;
use crate::storage::segment::SEGMENT_BYTES_MIN;
use crate::storage::testing::{self, append, batch, config, log_id};
use std::future::Future;

const NOW: i64 = 1_700_000_000_000;

/// One log with its writer.
struct Driver {
    log: RefCell<Log>,
    pool: Pool,
    disk: DiskRing,
    arena: Arena,
    directory: PathBuf,
    sync: WriteSync,
    stored: RefCell<Vec<Vec<u8>>>,
    work: Notify,
    done: Notify,
    writers: Cell<usize>,
}

impl Driver {
    /// Performs actions until nobody appends any more and everything is durable.
    async fn run(&self) {
        loop {
            let action = self.log.borrow_mut().next_action();
            match action {
                Some(Action::Attach { base, capacity }) => {
                    let target = self.directory.join(segment_name(base));
                    let file = self.pool.take(capacity, &target).await.unwrap();
                    let len = std::fs::metadata(&target).unwrap().len();
                    assert_eq!(len, capacity, "a file is as long as was asked");
                    self.log.borrow_mut().attach(base, file);
                }
                Some(Action::Write(mut job)) => {
                    let before = self.log.borrow().durable();
                    let pieces = std::mem::take(&mut job.pieces);
                    let write = self.disk.write(&job.file, job.position, pieces, self.sync);
                    write.await.unwrap();
                    assert_eq!(self.log.borrow().durable(), before, "only a completion moves it");
                    self.log.borrow_mut().wrote(&job);
                    self.done.notify();
                }
                None => {
                    let summary = self.log.borrow().next_index();
                    if let Some(summary) = summary {
                        let path = self.directory.join(index_name(summary.base));
                        std::fs::write(path, summary.encode()).unwrap();
                        self.log.borrow_mut().index_written(summary.base);
                    } else if self.writers.get() == 0 && self.log.borrow().is_settled() {
                        return;
                    } else {
                        self.work.notified().await;
                    }
                }
            }
        }
    }

    fn append(&self, value_bytes: usize) -> Offset {
        let fill = u8::try_from(self.stored.borrow().len() % 250 + 1).unwrap();
        let bytes = batch(1, value_bytes, fill, NOW);
        let (appended, stored) = append(&mut self.log.borrow_mut(), &self.arena, &bytes, NOW);
        self.stored.borrow_mut().push(stored);
        self.work.notify();
        appended.end
    }

    /// Everything from the log's start, read from the files.
    async fn read_back(&self) -> Vec<u8> {
        let mut out = Vec::new();
        while self.log.borrow_mut().evict() {}
        let mut offset = self.log.borrow().start();
        while offset < self.log.borrow().next() {
            let (base, end, capacity) = {
                let log = self.log.borrow();
                let segment = log.segments().find(|s| s.end > offset).unwrap();
                (segment.base, segment.end, segment.capacity)
            };
            let path = self.directory.join(segment_name(base));
            let file = self.disk.open_direct(&path, OpenMode::Direct).await.unwrap();
            let chunks: Vec<_> = (0..usize::try_from(capacity).unwrap().div_ceil(BLOCK_BYTES))
                .map(|_| self.arena.alloc(ChunkClass::Small).unwrap())
                .collect();
            let pieces = chunks.iter().map(|chunk| Piece {
                chunk: chunk.clone(),
                start: 0,
                len: chunk.len(),
            });
            let read = self.disk.read(&file, 0, pieces.collect()).await.unwrap();
            let chain = crate::storage::chain::Chain::of_read(0, chunks, read);
            let from = crate::storage::log::WalkStart {
                position: 0,
                offset: base,
                limit: end,
            };
            let want = Want {
                offset,
                max_bytes: usize::MAX,
                oversized_first: true,
                verify: true,
                format: ReadFormat::Kafka,
            };
            let id = self.log.borrow().id();
            let (ended, _) = gather(&chain, id, from, want, &mut out);
            assert_eq!(ended, Walked::Done, "segment {base}");
            offset = end;
        }
        out
    }
}

fn with_pool<F: Future<Output = ()> + 'static>(test: impl FnOnce(Pool, DiskRing, Arena, DataDir) -> F) {
    let directory = tempfile::tempdir_in("target").unwrap();
    let data = DataDir::new(directory.path());
    std::fs::create_dir_all(data.pool()).unwrap();
    executor::block_on(async {
        let arena = Arena::new(32 * SLAB_BYTES).unwrap();
        let disk = DiskRing::here();
        let pool = Pool::start(data.pool(), disk.clone(), &arena, 2, Vec::new());
        executor::spawn({
            let pool = pool.clone();
            async move { panic!("the disk failed: {}", pool.keep_filled().await) }
        });
        test(pool, disk, arena, data).await;
    });
}

async fn round_trip(pool: Pool, disk: DiskRing, arena: Arena, data: DataDir, sync: WriteSync) {
    // Two logs after each other on the same pool: the second gets the files of the first, stale frames and all.
    for n in 1..3u8 {
        let id = log_id(n);
        let directory = data.partition("topic", id.partition);
        std::fs::create_dir_all(&directory).unwrap();
        let config = config(SEGMENT_BYTES_MIN, Durability::Durable);
        let driver = Rc::new(Driver {
            log: RefCell::new(Log::empty(id, config)),
            pool: pool.clone(),
            disk: disk.clone(),
            arena: arena.clone(),
            directory: directory.clone(),
            sync,
            stored: RefCell::new(Vec::new()),
            work: Notify::default(),
            done: Notify::default(),
            writers: Cell::new(3),
        });
        for task in 0..3 {
            let driver = Rc::clone(&driver);
            executor::spawn(async move {
                for round in 0..20 {
                    driver.append(100 + 700 * task + 13 * round);
                    executor::sleep(Duration::from_micros(200)).await;
                }
                driver.writers.set(driver.writers.get() - 1);
                driver.work.notify();
            });
        }
        driver.run().await;
        let want = driver.stored.borrow().concat();
        assert_eq!(driver.log.borrow().durable(), Offset::new(60));
        assert!(driver.log.borrow().segments().len() > 2, "the log rolled");
        assert_eq!(driver.read_back().await, want);

        let (opened, report) = recovery::open(&directory, id, config, None, &mut ()).unwrap();
        assert_eq!((opened.next(), opened.damaged()), (Offset::new(60), &[][..]));
        assert_eq!(report.scanned_segments, 1, "sealed segments have their index");
        driver.log.replace(opened);
        assert_eq!(driver.read_back().await, want);

        driver.append(100);
        driver.run().await;
        let mut retired = 0;
        loop {
            let front = testing::retire_front(&mut driver.log.borrow_mut());
            let Some(front) = front else { break };
            let path = directory.join(segment_name(front.base));
            pool.recycle(&path, front.capacity).await.unwrap();
            std::fs::remove_file(directory.join(index_name(front.base))).unwrap();
            assert!(!path.exists());
            retired += 1;
        }
        assert!(retired > 1);
        assert!(
            pool.0.ready.borrow()[&SEGMENT_BYTES_MIN].len() <= 3,
            "a pool is bounded"
        );
        let start = usize::try_from(driver.log.borrow().start().get()).unwrap();
        let want = driver.stored.borrow()[start..].concat();
        assert_eq!(driver.read_back().await, want);
    }
}

#[test]
fn a_log_written_with_dsync_reads_back_before_and_after_reopening() {
    with_pool(|pool, disk, arena, data| round_trip(pool, disk, arena, data, WriteSync::Dsync));
}

#[test]
fn a_log_written_with_linked_syncs_reads_back_before_and_after_reopening() {
    with_pool(|pool, disk, arena, data| round_trip(pool, disk, arena, data, WriteSync::Link));
}

#[test]
fn unfinished_files_are_removed_at_start_and_whole_ones_kept() {
    let directory = tempfile::tempdir_in("target").unwrap();
    for (name, len) in [
        ("16384-a.new", 16384),
        ("16384-b.seg", 16384),
        ("16384-c.seg", 4096),
        ("x.seg", 1),
    ] {
        std::fs::write(directory.path().join(name), vec![0; len]).unwrap();
    }
    let found = scan_directory(directory.path()).unwrap();
    assert_eq!(found, [(16384, directory.path().join("16384-b.seg"))]);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn a_prepared_size_is_filled_and_taken_from_the_pool() {
    with_pool(|pool, disk, _arena, data| async move {
        pool.prepare(SEGMENT_BYTES_MIN);
        let ready = || pool.0.ready.borrow().get(&SEGMENT_BYTES_MIN).map_or(0, Vec::len);
        while ready() < 2 {
            // The file system says so, not the clock: filling ends or the test never does.
            executor::sleep(Duration::from_millis(1)).await;
        }
        let files = std::fs::read_dir(data.pool())
            .unwrap()
            .map(|entry| entry.unwrap());
        assert!(
            files
                .into_iter()
                .all(|file| file.metadata().unwrap().len() == SEGMENT_BYTES_MIN)
        );
        pool.take(SEGMENT_BYTES_MIN, &data.root().join("taken"))
            .await
            .unwrap();
        assert_eq!(std::fs::read(data.root().join("taken")).unwrap(), vec![0; 16384]);
        assert!(disk.in_flight() < 100);
    });
}
