//! Random values of the types that fields have. Seeded: the same seed gives the same message.

use corelog::base::TopicId;
use corelog::base::stages::{Path, Stage, StageTimes};
use corelog::protocol::kafka::wire::Records;
use smallvec::{Array, SmallVec};

/// splitmix64: small, seedable, good enough to pick field values.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ base_seed())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a usize fits");
        usize::try_from(self.next() % bound).expect("it is below a usize")
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next().to_le_bytes()[0])
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

pub(crate) fn base_seed() -> u64 {
    std::env::var("CORELOG_TEST_SEED").map_or(0, |seed| seed.parse().expect("CORELOG_TEST_SEED is a number"))
}

/// A type of which there are random values.
pub(crate) trait Arbitrary {
    fn arbitrary(random: &mut Random) -> Self;
}

macro_rules! arbitrary_int {
    ($($ty:ty),*) => {$(
        impl Arbitrary for $ty {
            fn arbitrary(random: &mut Random) -> Self {
                match random.below(4) {
                    // Values near the defaults, so that tagged fields are sometimes left out.
                    0 => random.pick(&[0, -1, 1, <$ty>::MIN, <$ty>::MAX]),
                    _ => <$ty>::from_be_bytes(random.bytes()),
                }
            }
        }
    )*};
}

arbitrary_int!(i8, i16, i32, i64);

impl Arbitrary for bool {
    fn arbitrary(random: &mut Random) -> Self {
        random.below(2) == 0
    }
}

impl Arbitrary for TopicId {
    fn arbitrary(random: &mut Random) -> Self {
        Self::new(random.bytes())
    }
}

impl Arbitrary for &'static str {
    fn arbitrary(random: &mut Random) -> Self {
        const LONG: &str = "a-name-that-needs-two-bytes-for-its-compact-length-because-it-is-longer-than-one-\
                            hundred-and-twenty-six-bytes-in-all-which-is-where-varints-grow";
        const { assert!(LONG.len() > 127) }
        random.pick(&[
            "",
            "a",
            "topic-1",
            "größe/数",
            "cleanup.policy",
            "127.0.0.1",
            LONG,
        ])
    }
}

impl Arbitrary for &'static [u8] {
    fn arbitrary(random: &mut Random) -> Self {
        static POOL: [u8; 400] = [0xa5; 400];
        let length = random.pick(&[0, 1, 61, 126, 127, 128, 400]);
        &POOL[..length]
    }
}

impl Arbitrary for Records<'static> {
    fn arbitrary(random: &mut Random) -> Self {
        match random.below(16) {
            0 => Self::from(vec![7; 20_000]),
            1 => Self::from(vec![vec![1; 5], vec![2; 17_000], vec![], vec![3; 9]]),
            2..6 => Self::from(vec![random.bytes::<70>().to_vec()]),
            6..10 => Self::EMPTY,
            _ => Self::from(<&'static [u8]>::arbitrary(random)),
        }
    }
}

impl Arbitrary for StageTimes {
    fn arbitrary(random: &mut Random) -> Self {
        let path = random.pick(&[Path::Durable, Path::Relaxed, Path::Read]);
        Stage::ALL.into_iter().fold(Self::new(path), |times, stage| {
            times.with_ns(stage, u32::from_le_bytes(random.bytes::<4>()).into())
        })
    }
}

impl<T: Arbitrary> Arbitrary for Option<T> {
    fn arbitrary(random: &mut Random) -> Self {
        (random.below(3) != 0).then(|| T::arbitrary(random))
    }
}

impl<T: Arbitrary> Arbitrary for Vec<T> {
    fn arbitrary(random: &mut Random) -> Self {
        (0..random.below(4)).map(|_| T::arbitrary(random)).collect()
    }
}

impl<A: Array> Arbitrary for SmallVec<A>
where
    A::Item: Arbitrary,
{
    fn arbitrary(random: &mut Random) -> Self {
        (0..random.below(4)).map(|_| A::Item::arbitrary(random)).collect()
    }
}
