//! InitProducerId: an identity for an idempotent or transactional producer.
//!
//! Without a transactional id it needs no coordinator. Absent: version 6 (two-phase commit).

use super::{rpc, wire_struct};

wire_struct! {
    /// Give me a producer id, or the next epoch of mine.
    InitProducerIdRequest<'a> {
        /// The transactional id, null for a merely idempotent producer.
        transactional_id: Option<&'a str> => 0.., null 0..;
        /// How long a transaction may stay open, in ms.
        transaction_timeout_ms: i32 => 0..;
        /// The id the producer has, -1 for none.
        producer_id: i64 => 3.., default -1;
        /// Its epoch, -1 for none.
        producer_epoch: i16 => 3.., default -1;
    }
}

wire_struct! {
    /// The identity.
    InitProducerIdResponse {
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 0..;
        /// 0, or why there is none.
        error_code: i16 => 0..;
        /// The id, -1 with an error.
        producer_id: i64 => 0.., default -1;
        /// Its epoch.
        producer_epoch: i16 => 0..;
    }
}

rpc!(InitProducerId: <'a> InitProducerIdRequest<'a> => <'r> InitProducerIdResponse);
