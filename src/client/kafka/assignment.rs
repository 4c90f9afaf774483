//! What members of a classic consumer group say to each other through the coordinator, which does not look into it:
//! `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment`, version 0, and the `range` assignor.
//!
//! Newer versions only append fields, so what others write reads as version 0. Bytes that are neither are an empty
//! assignment or subscription: the group may use a protocol of its own.

use std::collections::BTreeMap;

use crate::protocol::kafka::wire::{DecodeError, Format, Reader, Writer};

/// Neither compact nor nullable.
const PLAIN: Format = Format {
    version: 0,
    flexible: false,
    nullable: false,
};

/// Partitions by topic.
pub(crate) type Assignment = BTreeMap<String, Vec<i32>>;

/// A subscription to topics.
pub(crate) fn encode_subscription(topics: &[&str]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.i16(0);
    writer.count(Some(topics.len()), PLAIN);
    for topic in topics {
        writer.string(Some(topic), PLAIN);
    }
    writer.i32(NO_USER_DATA);
    finish(writer)
}

/// The topics of a subscription.
pub(crate) fn decode_subscription(bytes: &[u8]) -> Vec<String> {
    let read = |reader: &mut Reader<'_>| -> Result<Vec<String>, DecodeError> {
        reader.i16()?;
        let count = reader.count(PLAIN, STRING_BYTES_MIN)?.unwrap_or(0);
        (0..count)
            .map(|_| Ok(reader.string(PLAIN)?.unwrap_or_default().to_owned()))
            .collect()
    };
    read(&mut Reader::new(bytes)).unwrap_or_default()
}

/// An assignment.
pub(crate) fn encode(assignment: &Assignment) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.i16(0);
    writer.count(Some(assignment.len()), PLAIN);
    for (topic, partitions) in assignment {
        writer.string(Some(topic), PLAIN);
        writer.count(Some(partitions.len()), PLAIN);
        for partition in partitions {
            writer.i32(*partition);
        }
    }
    writer.i32(NO_USER_DATA);
    finish(writer)
}

/// The partitions of an assignment.
pub(crate) fn decode(bytes: &[u8]) -> Assignment {
    let read = |reader: &mut Reader<'_>| -> Result<Assignment, DecodeError> {
        reader.i16()?;
        let count = reader.count(PLAIN, STRING_BYTES_MIN)?.unwrap_or(0);
        let mut assignment = Assignment::new();
        for _ in 0..count {
            let topic = reader.string(PLAIN)?.unwrap_or_default().to_owned();
            let count = reader.count(PLAIN, size_of::<i32>())?.unwrap_or(0);
            let partitions = (0..count).map(|_| reader.i32()).collect::<Result<_, _>>()?;
            assignment.insert(topic, partitions);
        }
        Ok(assignment)
    };
    read(&mut Reader::new(bytes)).unwrap_or_default()
}

fn finish(writer: Writer) -> Vec<u8> {
    writer
        .finish()
        .expect("topic names and partitions fit the protocol")
        .into_vec()
}

/// Kafka's `range`: for each topic, its subscribers in order of their ids get neighbouring partitions, the first ones one
/// more where it does not come out even.
pub(crate) fn range(
    members: &BTreeMap<&str, Vec<String>>,
    partitions: &BTreeMap<String, usize>,
) -> BTreeMap<String, Assignment> {
    let mut assigned: BTreeMap<String, Assignment> = members
        .keys()
        .map(|member| ((*member).to_owned(), Assignment::new()))
        .collect();
    for (topic, count) in partitions {
        let subscribers: Vec<&str> = members
            .iter()
            .filter(|(_, topics)| topics.contains(topic))
            .map(|(member, _)| *member)
            .collect();
        let mut next = 0;
        for (place, member) in subscribers.iter().enumerate() {
            let extra = usize::from(place < count % subscribers.len());
            let share = count / subscribers.len() + extra;
            let own = (next..next + share).filter_map(|partition| i32::try_from(partition).ok());
            if share > 0
                && let Some(assignment) = assigned.get_mut(*member)
            {
                assignment.insert(topic.clone(), own.collect());
            }
            next += share;
        }
    }
    assigned
}

const NO_USER_DATA: i32 = -1;
/// A string takes at least its length.
const STRING_BYTES_MIN: usize = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_kafkas() {
        assert_eq!(
            encode_subscription(&["ab"]),
            [0, 0, 0, 0, 0, 1, 0, 2, b'a', b'b', 0xff, 0xff, 0xff, 0xff]
        );
        let one = Assignment::from([("t".to_owned(), vec![3])]);
        assert_eq!(
            encode(&one),
            [
                0, 0, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 3, 0xff, 0xff, 0xff, 0xff
            ]
        );
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(topics in proptest::collection::btree_map("[a-z]{1,9}", proptest::collection::vec(0..99i32, 0..9), 0..5)) {
            prop_assert_eq!(&decode(&encode(&topics)), &topics);
            let names: Vec<&str> = topics.keys().map(String::as_str).collect();
            prop_assert_eq!(decode_subscription(&encode_subscription(&names)), names);
        }

        #[test]
        fn noise_is_an_empty_assignment_or_a_small_one(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let partitions: usize = decode(&bytes).values().map(Vec::len).sum();
            prop_assert!(partitions <= 16);
            prop_assert!(decode_subscription(&bytes).len() <= 32);
        }

        #[test]
        fn every_partition_has_one_owner_and_shares_are_even(members in 1usize..8, count in 0usize..40) {
            let names: Vec<String> = (0..members).map(|n| format!("m{n}")).collect();
            let subscribed = names.iter().map(|name| (name.as_str(), vec!["t".to_owned()])).collect();
            let assigned = range(&subscribed, &BTreeMap::from([("t".to_owned(), count)]));
            let mut all: Vec<i32> = assigned.values().flat_map(|one| one.values().flatten().copied()).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..i32::try_from(count).unwrap()).collect::<Vec<_>>());
            let sizes: Vec<usize> = assigned.values().map(|one| one.values().map(Vec::len).sum()).collect();
            prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
            prop_assert_eq!(sizes.len(), members);
        }
    }
}
