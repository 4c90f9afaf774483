//! A random message of every type.

use corelog::protocol::kafka::messages as ours;

use crate::random::{Arbitrary, Random};

/// Names every field, so that a new one does not compile until it is tested.
macro_rules! arbitrary_structs {
    ($($ty:ty { $($field:ident),* $(,)? })*) => {$(
        impl Arbitrary for $ty {
            fn arbitrary(random: &mut Random) -> Self {
                $(let $field = Arbitrary::arbitrary(random);)*
                Self { $($field),* }
            }
        }
    )*};
}

arbitrary_structs! {
    ours::AlterConfigsRequest<'static> { resources, validate_only }
    ours::ReplacedConfigs<'static> { resource_type, resource_name, configs }
    ours::ReplacedConfig<'static> { name, value }
    ours::AlterConfigsResponse<'static> { throttle_time_ms, responses }
    ours::AlterPartitionReassignmentsRequest<'static> { timeout_ms, allow_replication_factor_change, topics }
    ours::ReassignableTopic<'static> { name, partitions }
    ours::ReassignablePartition { partition_index, replicas }
    ours::AlterPartitionReassignmentsResponse<'static> { throttle_time_ms, allow_replication_factor_change, error_code, error_message, responses }
    ours::ReassignableTopicResponse<'static> { name, partitions }
    ours::ReassignablePartitionResponse<'static> { partition_index, error_code, error_message }
    ours::AlterReplicaLogDirsRequest<'static> { dirs }
    ours::AlterReplicaLogDir<'static> { path, topics }
    ours::AlterReplicaLogDirTopic<'static> { name, partitions }
    ours::AlterReplicaLogDirsResponse<'static> { throttle_time_ms, results }
    ours::AlterReplicaLogDirTopicResult<'static> { topic_name, partitions }
    ours::AlterReplicaLogDirPartitionResult { partition_index, error_code }
    ours::ApiVersionsRequest<'static> { client_software_name, client_software_version }
    ours::ApiVersionsResponse<'static> { error_code, api_keys, throttle_time_ms, supported_features, finalized_features_epoch, finalized_features, zk_migration_ready }
    ours::ApiVersion { api_key, min_version, max_version }
    ours::SupportedFeatureKey<'static> { name, min_version, max_version }
    ours::FinalizedFeatureKey<'static> { name, max_version_level, min_version_level }
    ours::ConsumerGroupDescribeRequest<'static> { group_ids, include_authorized_operations }
    ours::ConsumerGroupDescribeResponse<'static> { throttle_time_ms, groups }
    ours::DescribedConsumerGroup<'static> { error_code, error_message, group_id, group_state, group_epoch, assignment_epoch, assignor_name, members, authorized_operations }
    ours::DescribedConsumerMember<'static> { member_id, instance_id, rack_id, member_epoch, client_id, client_host, subscribed_topic_names, subscribed_topic_regex, assignment, target_assignment, member_type }
    ours::DescribedAssignment<'static> { topic_partitions }
    ours::DescribedTopicPartitions<'static> { topic_id, topic_name, partitions }
    ours::ConsumerGroupHeartbeatRequest<'static> { group_id, member_id, member_epoch, instance_id, rack_id, rebalance_timeout_ms, subscribed_topic_names, subscribed_topic_regex, server_assignor, topic_partitions }
    ours::ConsumerGroupTopicPartitions { topic_id, partitions }
    ours::ConsumerGroupHeartbeatResponse<'static> { throttle_time_ms, error_code, error_message, member_id, member_epoch, heartbeat_interval_ms, assignment }
    ours::ConsumerGroupAssignment { topic_partitions }
    ours::CreatePartitionsRequest<'static> { topics, timeout_ms, validate_only }
    ours::CreatePartitionsTopic<'static> { name, count, assignments }
    ours::CreatePartitionsAssignment { broker_ids }
    ours::CreatePartitionsResponse<'static> { throttle_time_ms, results }
    ours::CreatePartitionsTopicResult<'static> { name, error_code, error_message }
    ours::CreateTopicsRequest<'static> { topics, timeout_ms, validate_only }
    ours::CreatableTopic<'static> { name, num_partitions, replication_factor, assignments, configs }
    ours::CreatableReplicaAssignment { partition_index, broker_ids }
    ours::CreatableTopicConfig<'static> { name, value }
    ours::CreateTopicsResponse<'static> { throttle_time_ms, topics }
    ours::CreatableTopicResult<'static> { name, topic_id, error_code, error_message, topic_config_error_code, num_partitions, replication_factor, configs }
    ours::CreatableTopicConfigs<'static> { name, value, read_only, config_source, is_sensitive }
    ours::DeleteGroupsRequest<'static> { groups_names }
    ours::DeleteGroupsResponse<'static> { throttle_time_ms, results }
    ours::DeletableGroupResult<'static> { group_id, error_code }
    ours::DeleteRecordsRequest<'static> { topics, timeout_ms }
    ours::DeleteRecordsTopic<'static> { name, partitions }
    ours::DeleteRecordsPartition { partition_index, offset }
    ours::DeleteRecordsResponse<'static> { throttle_time_ms, topics }
    ours::DeleteRecordsTopicResult<'static> { name, partitions }
    ours::DeleteRecordsPartitionResult { partition_index, low_watermark, error_code }
    ours::DeleteTopicsRequest<'static> { topics, topic_names, timeout_ms }
    ours::DeleteTopicState<'static> { name, topic_id }
    ours::DeleteTopicsResponse<'static> { throttle_time_ms, responses }
    ours::DeletableTopicResult<'static> { name, topic_id, error_code, error_message }
    ours::DescribeClusterRequest { include_cluster_authorized_operations, endpoint_type, include_fenced_brokers }
    ours::DescribeClusterResponse<'static> { throttle_time_ms, error_code, error_message, endpoint_type, cluster_id, controller_id, brokers, cluster_authorized_operations }
    ours::DescribeClusterBroker<'static> { broker_id, host, port, rack, is_fenced }
    ours::DescribeConfigsRequest<'static> { resources, include_synonyms, include_documentation }
    ours::DescribeConfigsResource<'static> { resource_type, resource_name, configuration_keys }
    ours::DescribeConfigsResponse<'static> { throttle_time_ms, results }
    ours::DescribeConfigsResult<'static> { error_code, error_message, resource_type, resource_name, configs }
    ours::DescribeConfigsResourceResult<'static> { name, value, read_only, config_source, is_sensitive, synonyms, config_type, documentation }
    ours::DescribeConfigsSynonym<'static> { name, value, source }
    ours::DescribeGroupsRequest<'static> { groups, include_authorized_operations }
    ours::DescribeGroupsResponse<'static> { throttle_time_ms, groups }
    ours::DescribedGroup<'static> { error_code, error_message, group_id, group_state, protocol_type, protocol_data, members, authorized_operations }
    ours::DescribedGroupMember<'static> { member_id, group_instance_id, client_id, client_host, member_metadata, member_assignment }
    ours::DescribeLogDirsRequest<'static> { topics }
    ours::DescribableLogDirTopic<'static> { topic, partitions }
    ours::DescribeLogDirsResponse<'static> { throttle_time_ms, error_code, results }
    ours::DescribeLogDirsResult<'static> { error_code, log_dir, topics, total_bytes, usable_bytes, is_cordoned }
    ours::DescribeLogDirsTopic<'static> { name, partitions }
    ours::DescribeLogDirsPartition { partition_index, partition_size, offset_lag, is_future_key }
    ours::DescribeProducersRequest<'static> { topics }
    ours::DescribeProducersTopic<'static> { name, partition_indexes }
    ours::DescribeProducersResponse<'static> { throttle_time_ms, topics }
    ours::DescribeProducersTopicResponse<'static> { name, partitions }
    ours::DescribeProducersPartitionResponse<'static> { partition_index, error_code, error_message, active_producers }
    ours::ProducerState { producer_id, producer_epoch, last_sequence, last_timestamp, coordinator_epoch, current_txn_start_offset }
    ours::DescribeTopicPartitionsRequest<'static> { topics, response_partition_limit, cursor }
    ours::DescribeTopicPartitionsTopic<'static> { name }
    ours::TopicPartitionsCursor<'static> { topic_name, partition_index }
    ours::DescribeTopicPartitionsResponse<'static> { throttle_time_ms, topics, next_cursor }
    ours::DescribedTopic<'static> { error_code, name, topic_id, is_internal, partitions, topic_authorized_operations }
    ours::DescribedPartition { error_code, partition_index, leader_id, leader_epoch, replica_nodes, isr_nodes, eligible_leader_replicas, last_known_elr, offline_replicas }
    ours::ElectLeadersRequest<'static> { election_type, topic_partitions, timeout_ms }
    ours::ElectLeadersTopic<'static> { topic, partitions }
    ours::ElectLeadersResponse<'static> { throttle_time_ms, error_code, replica_election_results }
    ours::ReplicaElectionResult<'static> { topic, partition_result }
    ours::ElectionPartitionResult<'static> { partition_id, error_code, error_message }
    ours::FetchRequest<'static> { cluster_id, replica_id, max_wait_ms, min_bytes, max_bytes, isolation_level, session_id, session_epoch, topics, forgotten_topics_data, rack_id, stages_layout }
    ours::FetchTopic<'static> { topic, topic_id, partitions }
    ours::FetchPartition { partition, current_leader_epoch, fetch_offset, last_fetched_epoch, log_start_offset, partition_max_bytes }
    ours::ForgottenTopic<'static> { topic, topic_id, partitions }
    ours::FetchResponse<'static> { throttle_time_ms, error_code, session_id, responses, node_endpoints, stages }
    ours::FetchableTopicResponse<'static> { topic, topic_id, partitions }
    ours::PartitionData<'static> { partition_index, error_code, high_watermark, last_stable_offset, log_start_offset, diverging_epoch, current_leader, snapshot_id, aborted_transactions, preferred_read_replica, records }
    ours::EpochEndOffset { epoch, end_offset }
    ours::SnapshotId { end_offset, epoch }
    ours::AbortedTransaction { producer_id, first_offset }
    ours::FindCoordinatorRequest<'static> { key, key_type, coordinator_keys }
    ours::FindCoordinatorResponse<'static> { throttle_time_ms, error_code, error_message, node_id, host, port, coordinators }
    ours::Coordinator<'static> { key, node_id, host, port, error_code, error_message }
    ours::HeartbeatRequest<'static> { group_id, generation_id, member_id, group_instance_id }
    ours::HeartbeatResponse { throttle_time_ms, error_code }
    ours::IncrementalAlterConfigsRequest<'static> { resources, validate_only }
    ours::AlterConfigsResource<'static> { resource_type, resource_name, configs }
    ours::AlterableConfig<'static> { name, config_operation, value }
    ours::IncrementalAlterConfigsResponse<'static> { throttle_time_ms, responses }
    ours::AlterConfigsResourceResponse<'static> { error_code, error_message, resource_type, resource_name }
    ours::InitProducerIdRequest<'static> { transactional_id, transaction_timeout_ms, producer_id, producer_epoch }
    ours::InitProducerIdResponse { throttle_time_ms, error_code, producer_id, producer_epoch }
    ours::JoinGroupRequest<'static> { group_id, session_timeout_ms, rebalance_timeout_ms, member_id, group_instance_id, protocol_type, protocols, reason }
    ours::JoinGroupRequestProtocol<'static> { name, metadata }
    ours::JoinGroupResponse<'static> { throttle_time_ms, error_code, generation_id, protocol_type, protocol_name, leader, skip_assignment, member_id, members }
    ours::JoinGroupResponseMember<'static> { member_id, group_instance_id, metadata }
    ours::LeaveGroupRequest<'static> { group_id, member_id, members }
    ours::LeaveGroupMember<'static> { member_id, group_instance_id, reason }
    ours::LeaveGroupResponse<'static> { throttle_time_ms, error_code, members }
    ours::LeaveGroupMemberResponse<'static> { member_id, group_instance_id, error_code }
    ours::ListConfigResourcesRequest { resource_types }
    ours::ListConfigResourcesResponse<'static> { throttle_time_ms, error_code, config_resources }
    ours::ConfigResource<'static> { resource_name, resource_type }
    ours::ListGroupsRequest<'static> { states_filter, types_filter }
    ours::ListGroupsResponse<'static> { throttle_time_ms, error_code, groups }
    ours::ListedGroup<'static> { group_id, protocol_type, group_state, group_type }
    ours::ListOffsetsRequest<'static> { replica_id, isolation_level, topics, timeout_ms }
    ours::ListOffsetsTopic<'static> { name, partitions }
    ours::ListOffsetsPartition { partition_index, current_leader_epoch, timestamp }
    ours::ListOffsetsResponse<'static> { throttle_time_ms, topics }
    ours::ListOffsetsTopicResponse<'static> { name, partitions }
    ours::ListOffsetsPartitionResponse { partition_index, error_code, timestamp, offset, leader_epoch }
    ours::ListPartitionReassignmentsRequest<'static> { timeout_ms, topics }
    ours::ListPartitionReassignmentsTopic<'static> { name, partition_indexes }
    ours::ListPartitionReassignmentsResponse<'static> { throttle_time_ms, error_code, error_message, topics }
    ours::OngoingTopicReassignment<'static> { name, partitions }
    ours::OngoingPartitionReassignment { partition_index, replicas, adding_replicas, removing_replicas }
    ours::MetadataRequest<'static> { topics, allow_auto_topic_creation, include_cluster_authorized_operations, include_topic_authorized_operations }
    ours::MetadataRequestTopic<'static> { topic_id, name }
    ours::MetadataResponse<'static> { throttle_time_ms, brokers, cluster_id, controller_id, topics, cluster_authorized_operations, error_code }
    ours::MetadataResponseBroker<'static> { node_id, host, port, rack }
    ours::MetadataResponseTopic<'static> { error_code, name, topic_id, is_internal, partitions, topic_authorized_operations }
    ours::MetadataResponsePartition { error_code, partition_index, leader_id, leader_epoch, replica_nodes, isr_nodes, offline_replicas }
    ours::OffsetCommitRequest<'static> { group_id, generation_id_or_member_epoch, member_id, group_instance_id, retention_time_ms, topics }
    ours::OffsetCommitRequestTopic<'static> { name, topic_id, partitions }
    ours::OffsetCommitRequestPartition<'static> { partition_index, committed_offset, committed_leader_epoch, committed_metadata }
    ours::OffsetCommitResponse<'static> { throttle_time_ms, topics }
    ours::OffsetCommitResponseTopic<'static> { name, topic_id, partitions }
    ours::OffsetCommitResponsePartition { partition_index, error_code }
    ours::OffsetDeleteRequest<'static> { group_id, topics }
    ours::OffsetDeleteRequestTopic<'static> { name, partitions }
    ours::OffsetDeleteRequestPartition { partition_index }
    ours::OffsetDeleteResponse<'static> { error_code, throttle_time_ms, topics }
    ours::OffsetDeleteResponseTopic<'static> { name, partitions }
    ours::OffsetDeleteResponsePartition { partition_index, error_code }
    ours::OffsetFetchRequest<'static> { group_id, topics, groups, require_stable }
    ours::OffsetFetchRequestGroup<'static> { group_id, member_id, member_epoch, topics }
    ours::OffsetFetchRequestTopic<'static> { name, topic_id, partition_indexes }
    ours::OffsetFetchResponse<'static> { throttle_time_ms, topics, error_code, groups }
    ours::OffsetFetchResponseGroup<'static> { group_id, topics, error_code }
    ours::OffsetFetchResponseTopic<'static> { name, topic_id, partitions }
    ours::OffsetFetchResponsePartition<'static> { partition_index, committed_offset, committed_leader_epoch, metadata, error_code }
    ours::OffsetForLeaderEpochRequest<'static> { replica_id, topics }
    ours::OffsetForLeaderTopic<'static> { topic, partitions }
    ours::OffsetForLeaderPartition { partition, current_leader_epoch, leader_epoch }
    ours::OffsetForLeaderEpochResponse<'static> { throttle_time_ms, topics }
    ours::OffsetForLeaderTopicResult<'static> { topic, partitions }
    ours::LeaderEpochEndOffset { error_code, partition, leader_epoch, end_offset }
    ours::ProduceRequest<'static> { transactional_id, acks, timeout_ms, topic_data, stages_layout }
    ours::TopicProduceData<'static> { name, topic_id, partition_data }
    ours::PartitionProduceData<'static> { index, records }
    ours::ProduceResponse<'static> { responses, throttle_time_ms, node_endpoints, stages }
    ours::TopicProduceResponse<'static> { name, topic_id, partition_responses }
    ours::PartitionProduceResponse<'static> { index, error_code, base_offset, log_append_time_ms, log_start_offset, record_errors, error_message, current_leader }
    ours::BatchIndexAndErrorMessage<'static> { batch_index, batch_index_error_message }
    ours::LeaderIdAndEpoch { leader_id, leader_epoch }
    ours::NodeEndpoint<'static> { node_id, host, port, rack }
    ours::SyncGroupRequest<'static> { group_id, generation_id, member_id, group_instance_id, protocol_type, protocol_name, assignments }
    ours::SyncGroupRequestAssignment<'static> { member_id, assignment }
    ours::SyncGroupResponse<'static> { throttle_time_ms, error_code, protocol_type, protocol_name, assignment }
}
