//! Every message of the served APIs, declared field by field.
//!
//! **Reading a declaration.** A structure is a list of fields; each says in which versions of its API it is on
//! the wire, and optionally where it may be null, which tag it has, and its default:
//!
//! ```text
//! leader_epoch: i32 => 7.., default -1;               a plain field from version 7 on
//! rack: Option<&'a str> => 1.., null 1..;             may be null from version 1 on
//! current_leader: LeaderIdAndEpoch => 10.., tag 0;    a tagged field, sent only when it is not its default
//! ```
//!
//! **Promise.** `decode(encode(m, v), v)` gives `m` back for all fields that exist in `v`. A field that `v` does
//! not have is left out on encode whatever its value (Kafka calls that ignorable), and has its default after
//! decode. `None` in a version without null becomes the empty string or array. Unknown tags are skipped.
//!
//! **Invariants.** Field order is wire order. Versions and flexibility come from [`ApiKey`] alone. Decoding
//! borrows from the frame. Nothing here interprets a value: an isolation level of 9 decodes.
//!
//! Any thread. Absent: everything a broker would only say to another broker.

mod alter_configs;
mod alter_partition_reassignments;
mod alter_replica_log_dirs;
mod api_versions;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_topic_partitions;
mod elect_leaders;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod produce;
mod stages;
mod sync_group;

use super::api::ApiKey;
use super::wire::{DecodeError, EncodeError, Format, Reader, Wire, Writer};

pub use alter_configs::*;
pub use alter_partition_reassignments::*;
pub use alter_replica_log_dirs::*;
pub use api_versions::*;
pub use consumer_group_describe::*;
pub use consumer_group_heartbeat::*;
pub use create_partitions::*;
pub use create_topics::*;
pub use delete_groups::*;
pub use delete_records::*;
pub use delete_topics::*;
pub use describe_cluster::*;
pub use describe_configs::*;
pub use describe_groups::*;
pub use describe_log_dirs::*;
pub use describe_producers::*;
pub use describe_topic_partitions::*;
pub use elect_leaders::*;
pub use fetch::*;
pub use find_coordinator::*;
pub use heartbeat::*;
pub use incremental_alter_configs::*;
pub use init_producer_id::*;
pub use join_group::*;
pub use leave_group::*;
pub use list_config_resources::*;
pub use list_groups::*;
pub use list_offsets::*;
pub use list_partition_reassignments::*;
pub use metadata::*;
pub use offset_commit::*;
pub use offset_delete::*;
pub use offset_fetch::*;
pub use offset_for_leader_epoch::*;
pub use produce::*;
pub use stages::*;
pub use sync_group::*;

/// A whole request or response body.
pub trait Message<'a>: Wire<'a> {
    /// The API it belongs to, which knows the versions.
    const API: ApiKey;

    /// Decodes a body that is all of `body`.
    ///
    /// # Errors
    /// An unsupported version, anything malformed, or bytes left over.
    fn decode(body: &'a [u8], version: i16) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let message = Self::decode_from(&mut reader, version)?;
        reader.finish()?;
        Ok(message)
    }

    /// Decodes a body from where `reader` stands and leaves what follows, if anything, to the caller.
    ///
    /// # Errors
    /// An unsupported version or anything malformed.
    fn decode_from(reader: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        if !Self::API.versions().contains(version) {
            return Err(DecodeError::UnsupportedVersion {
                api: Self::API,
                version,
            });
        }
        Self::read(reader, format(Self::API, version))
    }

    /// Writes the body. Faults, an unsupported version among them, come out of [`Writer::finish`].
    fn encode(self, writer: &mut Writer, version: i16) {
        if Self::API.versions().contains(version) {
            self.write(writer, format(Self::API, version));
        } else {
            writer.fail(EncodeError::UnsupportedVersion {
                api: Self::API,
                version,
            });
        }
    }
}

/// A request, which knows the type of its answer.
pub trait Request<'a>: Message<'a> {
    /// The answer.
    type Response<'r>: Message<'r>;
}

const fn format(api: ApiKey, version: i16) -> Format {
    Format {
        version,
        flexible: api.is_flexible(version),
        nullable: false,
    }
}

/// Declares a structure and derives its [`Wire`] from the field list; the module essay explains the syntax.
macro_rules! wire_struct {
    (@impl [$($doc:tt)*] $name:ident [$life:lifetime] [$($generics:tt)*] {$(
        $(#[$field_doc:meta])*
        $field:ident: $ty:ty => $versions:expr
            $(, null $null:expr)? $(, tag $tag:expr)? $(, default $default:expr)?;
    )*}) => {
        $($doc)*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name $($generics)* {
            $($(#[$field_doc])* pub $field: $ty,)*
        }

        impl $($generics)* Default for $name $($generics)* {
            fn default() -> Self {
                Self { $($field: wire_struct!(@default $($default)?),)* }
            }
        }

        impl $($generics)* $crate::protocol::kafka::wire::Structure for $name $($generics)* {}

        impl<$life> $crate::protocol::kafka::wire::Wire<$life> for $name $($generics)* {
            fn bytes_min(format: $crate::protocol::kafka::wire::Format) -> usize {
                // A flexible structure ends with at least an empty tag section.
                let mut bytes = usize::from(format.flexible);
                $(wire_struct!(@untagged [$($tag)?] {
                    if ($versions).contains(&format.version) {
                        bytes += <$ty as $crate::protocol::kafka::wire::Wire<$life>>::bytes_min(format);
                    }
                });)*
                bytes
            }

            #[inline]
            fn read(
                reader: &mut $crate::protocol::kafka::wire::Reader<$life>,
                format: $crate::protocol::kafka::wire::Format,
            ) -> Result<Self, $crate::protocol::kafka::wire::DecodeError> {
                $(wire_struct!(@read [$($tag)?] $field: $ty = wire_struct!(@default $($default)?), {
                    if ($versions).contains(&format.version) {
                        let format = format.with_nullable(wire_struct!(@null format $(, $null)?));
                        <$ty as $crate::protocol::kafka::wire::Wire<$life>>::read(reader, format)?
                    } else {
                        wire_struct!(@default $($default)?)
                    }
                });)*
                if format.flexible {
                    for _ in 0..reader.tag_count()? {
                        let tag = reader.uvarint()?;
                        let outside = reader.enter()?;
                        $(wire_struct!(@tagged [$($tag)?] {
                            if tag == wire_struct!(@tag $($tag)?) && ($versions).contains(&format.version) {
                                let format = format.with_nullable(wire_struct!(@null format $(, $null)?));
                                $field = $crate::protocol::kafka::wire::Wire::read(reader, format)?;
                                reader.leave(outside)?;
                                continue;
                            }
                        });)*
                        // Unknown here, or not yet known in this version.
                        let _ = tag;
                        reader.abandon(outside);
                    }
                }
                Ok(Self { $($field),* })
            }

            fn write(
                self,
                writer: &mut $crate::protocol::kafka::wire::Writer,
                format: $crate::protocol::kafka::wire::Format,
            ) {
                $(wire_struct!(@untagged [$($tag)?] {
                    if ($versions).contains(&format.version) {
                        let format = format.with_nullable(wire_struct!(@null format $(, $null)?));
                        $crate::protocol::kafka::wire::Wire::write(self.$field, writer, format);
                    }
                });)*
                if format.flexible {
                    let present = 0 $(+ wire_struct!(@present [$($tag)?] {
                        let default: $ty = wire_struct!(@default $($default)?);
                        ($versions).contains(&format.version) && self.$field != default
                    }))*;
                    writer.uvarint(present);
                    if present == 0 {
                        return;
                    }
                    $(wire_struct!(@tagged [$($tag)?] {
                        let default: $ty = wire_struct!(@default $($default)?);
                        if ($versions).contains(&format.version) && self.$field != default {
                            let format = format.with_nullable(wire_struct!(@null format $(, $null)?));
                            writer.tagged(wire_struct!(@tag $($tag)?), |writer| {
                                $crate::protocol::kafka::wire::Wire::write(self.$field, writer, format);
                            });
                        }
                    });)*
                }
            }
        }
    };

    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
    (@null $format:ident) => { false };
    (@null $format:ident, $null:expr) => { ($null).contains(&$format.version) };
    (@untagged [] $code:block) => { $code };
    (@untagged [$tag:expr] $code:block) => {};
    (@tagged [] $code:block) => {};
    (@tagged [$tag:expr] $code:block) => { $code };
    (@present [] $code:block) => { 0 };
    (@present [$tag:expr] $code:block) => { u32::from($code) };
    // A tagged field starts as its default and is set when its tag comes by.
    (@read [] $field:ident: $ty:ty = $default:expr, $read:block) => { let $field: $ty = $read; };
    (@read [$tag:expr] $field:ident: $ty:ty = $default:expr, $read:block) => {
        let mut $field: $ty = $default;
    };
    // Asked for every field, used for tagged ones only.
    (@tag) => { u32::MAX };
    (@tag $tag:expr) => { $tag };

    ($(#[$doc:meta])* $name:ident<$life:lifetime> {$($fields:tt)*}) => {
        wire_struct! {@impl [$(#[$doc])*] $name [$life] [<$life>] {$($fields)*}}
    };
    ($(#[$doc:meta])* $name:ident {$($fields:tt)*}) => {
        wire_struct! {@impl [$(#[$doc])*] $name ['wire] [] {$($fields)*}}
    };
}
use wire_struct;

/// Makes two structures the request and the response of an API.
macro_rules! rpc {
    ($api:ident: <$q:lifetime> $request:ty => <$r:lifetime> $response:ty) => {
        impl<$q> $crate::protocol::kafka::messages::Message<$q> for $request {
            const API: $crate::protocol::kafka::api::ApiKey = $crate::protocol::kafka::api::ApiKey::$api;
        }
        impl<$r> $crate::protocol::kafka::messages::Message<$r> for $response {
            const API: $crate::protocol::kafka::api::ApiKey = $crate::protocol::kafka::api::ApiKey::$api;
        }
        impl<$q> $crate::protocol::kafka::messages::Request<$q> for $request {
            type Response<$r> = $response;
        }
    };
}
use rpc;
