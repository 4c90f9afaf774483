//! ApiVersions: the first thing a client asks, and the one request it sends before it knows any version.
//!
//! An unknown version is answered with a version 0 body (error 35, this API's own range) and the connection
//! stays; that is the handler's work. Since version 3 the client names its software and the broker its
//! features. Absent: version 5.

use super::{rpc, wire_struct};

wire_struct! {
    /// What do you speak?
    ApiVersionsRequest<'a> {
        /// Name of the client library.
        client_software_name: &'a str => 3..;
        /// Its version.
        client_software_version: &'a str => 3..;
    }
}

wire_struct! {
    /// What the broker speaks.
    ApiVersionsResponse<'a> {
        /// 35 when the request's version is too new.
        error_code: i16 => 0..;
        /// The APIs, each with its range.
        api_keys: Vec<ApiVersion> => 0..;
        /// How long the client was held back, in ms.
        throttle_time_ms: i32 => 1..;
        /// Features the broker could use. Below version 4, leave out those whose minimum is 0.
        supported_features: Vec<SupportedFeatureKey<'a>> => 3.., tag 0;
        /// Generation of the finalized features; -1 is unknown.
        finalized_features_epoch: i64 => 3.., tag 1, default -1;
        /// Features in use; valid only if the epoch is not -1.
        finalized_features: Vec<FinalizedFeatureKey<'a>> => 3.., tag 2;
        /// Left over from ZooKeeper days; false.
        zk_migration_ready: bool => 3.., tag 3;
    }
}

wire_struct! {
    /// One API and its versions.
    ApiVersion {
        /// The key.
        api_key: i16 => 0..;
        /// First version.
        min_version: i16 => 0..;
        /// Last version, included.
        max_version: i16 => 0..;
    }
}

wire_struct! {
    /// A feature the broker could use.
    SupportedFeatureKey<'a> {
        /// Its name.
        name: &'a str => 3..;
        /// Lowest level.
        min_version: i16 => 3..;
        /// Highest level.
        max_version: i16 => 3..;
    }
}

wire_struct! {
    /// A feature in use.
    FinalizedFeatureKey<'a> {
        /// Its name.
        name: &'a str => 3..;
        /// Highest level in use.
        max_version_level: i16 => 3..;
        /// Lowest level in use.
        min_version_level: i16 => 3..;
    }
}

rpc!(ApiVersions: <'a> ApiVersionsRequest<'a> => <'r> ApiVersionsResponse<'r>);
