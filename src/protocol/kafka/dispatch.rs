//! From API key to handler: the one table.
//!
//! **Promise.** Every API this codec knows has an arm in [`begin`], so a new one does not compile without a handler.
//! Nothing outside the advertised versions reaches a handler.
//!
//! **What is refused how.** An unknown API, a version that is not spoken and a malformed body close the connection, as
//! Kafka does: the client cannot read an answer in a version it invented. ApiVersions alone is answered in version 0
//! whatever was asked, so that a client newer than the broker finds common ground. Produce 0 to 2 are advertised (see
//! [`super::api`]) and closed like any other version we do not parse; no client that negotiates picks them.
//! Malformed requests close only after the answers to what came before them.

use std::future::{Future, ready};

use super::api::{ADVERTISED, ApiKey};
use super::call::{Answer, Call, Outcome, PendingAnswer};
use super::handlers::{
    alter_configs, alter_partition_reassignments, alter_replica_log_dirs, api_versions,
    consumer_group_describe, consumer_group_heartbeat, create_partitions, create_topics, delete_groups,
    delete_records, delete_topics, describe_cluster, describe_configs, describe_groups, describe_log_dirs,
    describe_producers, describe_topic_partitions, elect_leaders, fetch, find_coordinator, heartbeat,
    incremental_alter_configs, init_producer_id, join_group, leave_group, list_config_resources, list_groups,
    list_offsets, list_partition_reassignments, metadata, offset_commit, offset_delete, offset_fetch,
    offset_for_leader_epoch, produce, sync_group,
};
use super::header::RequestHeader;
use crate::runtime::executor;
use crate::runtime::local::OneShot;

/// What becomes of a request, by its header alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Route {
    /// A handler answers it.
    Serve(ApiKey),
    /// ApiVersions in a version of its own: answered in version 0.
    UnknownApiVersions,
    /// The connection is closed.
    Refuse(&'static str),
}

/// Decides by API key and version.
pub(super) fn route(header: &RequestHeader<'_>) -> Route {
    let Some(api) = header.api().filter(|api| ADVERTISED.contains(api)) else {
        return Route::Refuse("unknown API");
    };
    if api.advertised().contains(header.api_version) && api.versions().contains(header.api_version) {
        return Route::Serve(api);
    }
    match api {
        ApiKey::ApiVersions => Route::UnknownApiVersions,
        _ => Route::Refuse("unsupported version of an API"),
    }
}

/// Starts a request. When this returns, a Produce has its place in every log it writes to; everything else may run
/// beside what follows it.
pub(super) async fn begin(call: Call, route: Route) -> PendingAnswer {
    if route == Route::UnknownApiVersions {
        return now(Ok(api_versions::refuse_version(&call)));
    }
    match call.api {
        ApiKey::Produce => produce::begin(call).await,
        ApiKey::Fetch => task(fetch::handle(call)),
        ApiKey::ListOffsets => task(list_offsets::handle(call)),
        ApiKey::Metadata => task(metadata::handle(call)),
        ApiKey::FindCoordinator => task(find_coordinator::handle(call)),
        ApiKey::ApiVersions => now(api_versions::handle(&call)),
        ApiKey::CreateTopics => task(create_topics::handle(call)),
        ApiKey::DeleteTopics => task(delete_topics::handle(call)),
        ApiKey::InitProducerId => task(init_producer_id::handle(call)),
        ApiKey::OffsetForLeaderEpoch => task(offset_for_leader_epoch::handle(call)),
        ApiKey::DescribeConfigs => task(describe_configs::handle(call)),
        ApiKey::AlterConfigs => task(alter_configs::handle(call)),
        ApiKey::CreatePartitions => task(create_partitions::handle(call)),
        ApiKey::IncrementalAlterConfigs => task(incremental_alter_configs::handle(call)),
        ApiKey::OffsetCommit => task(offset_commit::handle(call)),
        ApiKey::OffsetFetch => task(offset_fetch::handle(call)),
        ApiKey::JoinGroup => task(join_group::handle(call)),
        ApiKey::Heartbeat => task(heartbeat::handle(call)),
        ApiKey::LeaveGroup => task(leave_group::handle(call)),
        ApiKey::SyncGroup => task(sync_group::handle(call)),
        ApiKey::DescribeGroups => task(describe_groups::handle(call)),
        ApiKey::ListGroups => task(list_groups::handle(call)),
        ApiKey::DeleteGroups => task(delete_groups::handle(call)),
        ApiKey::OffsetDelete => task(offset_delete::handle(call)),
        ApiKey::DeleteRecords => task(delete_records::handle(call)),
        ApiKey::ConsumerGroupHeartbeat => task(consumer_group_heartbeat::handle(call)),
        ApiKey::ConsumerGroupDescribe => task(consumer_group_describe::handle(call)),
        ApiKey::DescribeCluster => now(describe_cluster::handle(&call)),
        ApiKey::AlterReplicaLogDirs => now(alter_replica_log_dirs::handle(&call)),
        ApiKey::DescribeLogDirs => task(describe_log_dirs::handle(call)),
        ApiKey::ElectLeaders => now(elect_leaders::handle(&call)),
        ApiKey::AlterPartitionReassignments => now(alter_partition_reassignments::handle(&call)),
        ApiKey::ListPartitionReassignments => now(list_partition_reassignments::handle(&call)),
        ApiKey::DescribeProducers => task(describe_producers::handle(call)),
        ApiKey::ListConfigResources => task(list_config_resources::handle(call)),
        ApiKey::DescribeTopicPartitions => task(describe_topic_partitions::handle(call)),
    }
}

/// An answer that needs no waiting.
fn now(outcome: Outcome) -> PendingAnswer {
    Box::pin(ready(settle(outcome)))
}

/// Runs a handler as a task of its own, so that it goes on while answers before it are waited for.
fn task(handler: impl Future<Output = Outcome> + 'static) -> PendingAnswer {
    let answer = OneShot::default();
    let slot = answer.clone();
    executor::spawn(async move {
        let outcome = executor::catch_panic(handler).await;
        slot.set(outcome.map_or(Answer::Close("a handler panicked"), settle));
    });
    Box::pin(async move { answer.take().await })
}

fn settle(outcome: Outcome) -> Answer {
    outcome.unwrap_or_else(|error| {
        tracing::debug!(%error, "malformed request");
        Answer::Close("malformed request")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route_of(api_key: i16, api_version: i16) -> Route {
        route(&RequestHeader {
            api_key,
            api_version,
            correlation_id: 1,
            client_id: None,
        })
    }

    #[test]
    fn every_advertised_version_that_is_parsed_is_served() {
        for &api in ADVERTISED {
            let versions = api.versions();
            for version in versions.min..=versions.max.min(api.advertised().max) {
                assert_eq!(route_of(api.key(), version), Route::Serve(api));
            }
        }
    }

    #[test]
    fn unknown_apis_and_versions_are_refused() {
        for (key, version) in [
            (999, 0),
            (-1, 0),
            (10, 7),
            (0, 2),
            (0, ApiKey::Produce.advertised().max + 1),
            (1, 3),
            (3, 14),
            (3, -1),
        ] {
            assert!(
                matches!(route_of(key, version), Route::Refuse(_)),
                "{key} v{version}"
            );
        }
    }

    #[test]
    fn api_versions_is_answered_whatever_its_version() {
        for version in [-1, 5, 99, i16::MAX] {
            assert_eq!(route_of(18, version), Route::UnknownApiVersions);
        }
    }
}
