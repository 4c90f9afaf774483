//! The small files of a data directory: whatever they hold, a start reads what was written or nothing.

use super::input::Input;
use super::scratch::Scratch;
use super::seal;
use crate::base::{LeaderEpoch, Offset, ProducerEpoch, Timestamp};
use crate::broker::meta_store::{Item, LocalMetaStore, MetaStore as _, Revision, Txn, journal};
use crate::broker::producer_state::{Placement, ProducerStamp, ProducerTable, Verdict};
use crate::storage::checkpoint::Checkpoint;
use crate::storage::index::SegmentSummary;
use crate::storage::marker;
use std::time::Duration;

/// Judges `data` as it is and with its sums made right.
fn both(data: &[u8], seal: fn(&mut [u8]), judge: fn(&[u8])) {
    judge(data);
    let mut sealed = data.to_vec();
    seal(&mut sealed);
    judge(&sealed);
}

/// The index of a segment: what reads is written the same, and every lookup lands on an entry.
pub fn index_file(data: &[u8]) {
    both(data, seal::small_file, |bytes| {
        let Some(summary) = SegmentSummary::decode(bytes) else {
            return;
        };
        assert_eq!(summary.encode(), bytes);
        let entries = summary.index.entries();
        for relative in [0, 1, u32::MAX] {
            let found = summary.index.floor(relative);
            let known = entries
                .iter()
                .any(|entry| (entry.relative_offset, entry.position) == found);
            assert!(known || found == (0, 0));
        }
        for time in [i64::MIN, 0, i64::MAX] {
            let found = summary.index.floor_by_time(Timestamp::new(time));
            let known = entries
                .iter()
                .any(|entry| (entry.relative_offset, entry.position) == found);
            assert!(known || found == (0, 0));
        }
        let of_records = summary.epochs_with_records().count();
        assert!(of_records <= summary.epochs.len());
        assert!(
            summary
                .epochs_with_records()
                .all(|(_, offset): (LeaderEpoch, Offset)| offset < summary.end)
        );
    });
}

/// A partition's checkpoint: what reads is written the same, but for four bytes that mean nothing.
pub fn checkpoint(data: &[u8]) {
    both(data, seal::small_file, |bytes| {
        if let Some(checkpoint) = Checkpoint::decode(bytes) {
            assert_eq!(Checkpoint::decode(&checkpoint.encode()), Some(checkpoint));
        }
    });
}

/// The clean-stop marker.
pub fn clean_stop(data: &[u8]) {
    both(data, seal::small_file, |bytes| {
        if let Some(ends) = marker::decode(bytes) {
            let again = marker::encode(&ends);
            assert_eq!(again.len(), bytes.len());
            assert_eq!(marker::decode(&again), Some(ends));
        }
    });
}

/// The producers of a partition, as an index file keeps them: what reads is written the same, and producers go on from it.
pub fn producer_table(data: &[u8]) {
    let Ok(mut table) = ProducerTable::decode(data) else {
        return;
    };
    assert_eq!(table.encode(), data);
    let reports: Vec<_> = table.reports().collect();
    assert_eq!(reports.len(), table.len());
    for report in reports {
        for (epoch, sequence) in [
            (report.epoch, report.last_sequence),
            (report.epoch, report.last_sequence.wrapping_add(1).max(0)),
            (ProducerEpoch::new(report.epoch.get().wrapping_add(1)), 0),
        ] {
            let stamp = ProducerStamp {
                id: report.id,
                epoch,
                base_sequence: sequence,
            };
            let placement = Placement {
                base_offset: Offset::new(1),
                last_offset: Offset::new(2),
                timestamp: Timestamp::new(3),
            };
            if let Ok(Verdict::Append) = table.check(stamp, 2) {
                table.record(stamp, 2, placement, Timestamp::new(4));
            }
        }
    }
    let decoded = ProducerTable::decode(&table.encode());
    assert_eq!(decoded.as_ref(), Ok(&table));
    let known = table.len();
    let expired = table.expire(Timestamp::new(i64::MAX), Duration::ZERO);
    assert_eq!(table.len() + expired, known);
}

/// The metadata journal: what reads is, byte for byte, what its entries are written as.
pub fn meta_journal(data: &[u8]) {
    both(data, seal::journal, |bytes| {
        let Ok(read) = journal::decode(bytes) else {
            return;
        };
        let mut written = journal::encode_header(read.base);
        for entry in &read.entries {
            let entry = journal::encode_entry(entry.revision, &entry.ops);
            written.extend(entry.expect("a fuzzer's inputs are small"));
        }
        // The version is in the header, of which one exists.
        assert_eq!(written, bytes[..read.end]);
        let whole = journal::decode(&bytes[..read.end]);
        assert_eq!(whole.as_ref(), Ok(&read), "what is torn off adds nothing");
    });
}

/// The metadata snapshot.
pub fn meta_snapshot(data: &[u8]) {
    both(data, seal::ending, |bytes| {
        if let Ok((revision, image)) = journal::decode_snapshot(bytes) {
            assert_eq!(journal::encode_snapshot(revision, &image), bytes);
        }
    });
}

/// Both files of the store: `u16 bytes of snapshot, snapshot, journal`. What opens opens again to the same, also after a commit.
pub fn meta_store(data: &[u8]) {
    let mut input = Input::new(data);
    let len = usize::from(input.number());
    let mut snapshot = input.bytes(len).to_vec();
    let mut journal = input.rest().to_vec();
    seal::ending(&mut snapshot);
    seal::journal(&mut journal);
    let scratch = Scratch::new("meta");
    scratch.write("journal", &journal);
    if !snapshot.is_empty() {
        scratch.write("snapshot", &snapshot);
    }
    let Ok(store) = LocalMetaStore::open(scratch.path()) else {
        return;
    };
    let found = contents(&store);
    drop(store);
    let files = scratch.files();
    let mut again = LocalMetaStore::open(scratch.path()).expect("what opened once opens again");
    assert_eq!(contents(&again), found, "opening twice is opening once");
    assert_eq!(scratch.files(), files, "opening twice changes nothing");
    commit(&mut again);
    let committed = contents(&again);
    drop(again);
    let last = LocalMetaStore::open(scratch.path()).expect("it opens after a commit");
    assert_eq!(contents(&last), committed);
}

/// Everything a store holds.
fn contents(store: &LocalMetaStore) -> (Revision, Vec<(String, Item)>) {
    let items = store.range("").map(|(key, item)| (key.to_owned(), item.clone()));
    (store.revision(), items.collect())
}

/// One more transaction: whatever the store was opened from, it goes on.
fn commit(store: &mut LocalMetaStore) {
    let before = store.revision();
    let committed = store
        .commit(Txn::new().put("fuzz", "value"))
        .expect("a disk in memory does not fail");
    assert!(committed.revision > before);
    assert_eq!(
        store.get("fuzz").map(|item| item.value.as_slice()),
        Some(&b"value"[..])
    );
}
