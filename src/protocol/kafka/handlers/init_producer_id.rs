//! InitProducerId: an identity for an idempotent producer.
//!
//! Always a fresh id with epoch 0, also for a producer that has one and asks for its next epoch (KIP-360): a fresh id
//! starts its sequences over just as well, and nothing has to be remembered. A transactional id is refused with
//! `TRANSACTIONAL_ID_AUTHORIZATION_FAILED`, which every client takes as final; FindCoordinator knows no
//! coordinator, so transactional producers normally fail before they get here.

use crate::protocol::kafka::call::{Call, Outcome};
use crate::protocol::kafka::errors::ErrorCode;
use crate::protocol::kafka::map;
use crate::protocol::kafka::messages::{InitProducerIdRequest, InitProducerIdResponse};

/// Hands out an id.
pub(in crate::protocol::kafka) async fn handle(call: Call) -> Outcome {
    let request: InitProducerIdRequest<'_> = call.decode()?;
    let id = match request.transactional_id {
        None => call
            .shard
            .next_producer_id()
            .await
            .map_err(|error| map::producer_id_error(&error)),
        Some("") => Err(ErrorCode::InvalidRequest),
        Some(_) => Err(ErrorCode::TransactionalIdAuthorizationFailed),
    };
    Ok(call.answer(match id {
        Ok(id) => InitProducerIdResponse {
            producer_id: id.get(),
            ..InitProducerIdResponse::default()
        },
        Err(code) => {
            call.count_error();
            InitProducerIdResponse {
                error_code: code.code(),
                producer_epoch: -1,
                ..InitProducerIdResponse::default()
            }
        }
    }))
}
