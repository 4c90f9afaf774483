//! The catalogue of topics: what the metadata store says, and the directories that go with it.
//!
//! ```text
//! cluster               {"id": text}
//! topics/<name>         {"id": uuid, "partitions": n, "configs": {key: value}}
//! deleting/<topic id>   {"name": text}        a deleted topic whose files are not gone yet
//! producer-ids          {"next": n}           first producer id nobody has
//! broker-configs/<scope> {"configs": {key: value}}    set at run time for all brokers ("cluster") or for this one ("node")
//! ```
//!
//! **Order of steps, and what a crash between them leaves.** Creating makes the directories first, then commits: a crash
//! leaves empty directories, which are taken over by the next topic of that name. Deleting commits first (the topic goes
//! and its tombstone comes in one transaction), then the shards let go, then the directory moves to the trash, then it is
//! removed, then the tombstone goes: a crash leaves a tombstone, and the next start finishes the work. A directory without
//! topic and tombstone is never touched.

use crate::base::TopicId;
use crate::broker::broker_config::{self, BrokerConfig, BrokerConfigError, Scope};
use crate::broker::config_change::{Alteration, NotAList};
use crate::broker::image::Image;
use crate::broker::meta_store::{self, Expected, LocalMetaStore, MetaStore, Txn};
use crate::broker::topic::{self, PARTITIONS_MAX, Topic, TopicError};
use crate::runtime::{entropy, fs};
use crate::shard::request::{AlterConfigs, ConfigResource, ControlError, ControlReply, NewTopic};
use crate::storage;
use crate::storage::layout::{DataDir, parent};
use crate::storage::marker::sync_directory;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Producer ids handed to a shard at once. A crash wastes at most this many per shard.
const PRODUCER_ID_BLOCK: i64 = 1000;

/// Most partitions of all topics together; each costs memory on its shard.
pub const PARTITIONS_TOTAL_MAX: u64 = 200_000;

const CLUSTER_KEY: &str = "cluster";
const PRODUCER_IDS_KEY: &str = "producer-ids";

#[derive(Serialize, Deserialize)]
struct ClusterRecord {
    id: String,
}

#[derive(Serialize, Deserialize)]
struct TopicRecord {
    id: uuid::Uuid,
    partitions: u32,
    configs: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct BrokerConfigsRecord {
    configs: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct TombstoneRecord {
    name: String,
}

#[derive(Serialize, Deserialize)]
struct ProducerIdsRecord {
    next: i64,
}

/// See the module. Lives on the control thread.
#[derive(Debug)]
pub struct Catalog {
    store: LocalMetaStore,
    data: DataDir,
    default_partitions: u32,
    image: Arc<Image>,
    cluster_id: String,
    failure: Option<String>,
}

impl Catalog {
    /// Opens the store, finishes deletions a crash interrupted, and makes sure every topic has its directories: they were made
    /// before the topic was, so one that is missing took records along.
    ///
    /// # Errors
    /// The store's or the file system's.
    pub fn open(data: &DataDir, broker: BrokerConfig, default_partitions: u32) -> Result<Self, CatalogError> {
        let store = LocalMetaStore::open(&data.meta())?;
        let mut catalog = Self {
            store,
            data: data.clone(),
            default_partitions,
            image: Arc::new(Image::default()),
            cluster_id: String::new(),
            failure: None,
        };
        catalog.cluster_id = catalog.load_or_make_cluster_id()?;
        catalog.image = Arc::new(catalog.load_image(broker)?);
        catalog.finish_deletions()?;
        for topic in catalog.image.topics() {
            check_directories(data, topic)?;
        }
        Ok(catalog)
    }

    /// How the disk failed under the metadata, if it did: the process must stop.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The topics now.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        Arc::clone(&self.image)
    }

    /// Constant over the life of the data directory.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    fn load_or_make_cluster_id(&mut self) -> Result<String, CatalogError> {
        if let Some(item) = self.store.get(CLUSTER_KEY) {
            return Ok(parse::<ClusterRecord>(CLUSTER_KEY, &item.value)?.id);
        }
        let id = entropy::uuid().simple().to_string();
        let record = to_json(&ClusterRecord { id: id.clone() });
        self.store.commit(
            Txn::new()
                .expect(CLUSTER_KEY, Expected::Absent)
                .put(CLUSTER_KEY, record),
        )?;
        Ok(id)
    }

    fn load_image(&self, mut broker: BrokerConfig) -> Result<Image, CatalogError> {
        for scope in Scope::ALL {
            let key = broker_configs_key(scope);
            if let Some(item) = self.store.get(&key) {
                let record: BrokerConfigsRecord = parse(&key, &item.value)?;
                broker = broker.with(scope, record.configs);
            }
        }
        let mut image = Image::default();
        image.set_broker(Arc::new(broker));
        for (key, item) in self.store.range("topics/") {
            let record: TopicRecord = parse(key, &item.value)?;
            let topic = made_topic(&key["topics/".len()..], &record, image.broker());
            image.put(topic);
        }
        image.revision = self.store.revision().get();
        Ok(image)
    }

    fn finish_deletions(&mut self) -> Result<(), CatalogError> {
        let mut pending = Vec::new();
        for (key, item) in self.store.range("deleting/") {
            pending.push((key.to_owned(), parse::<TombstoneRecord>(key, &item.value)?.name));
        }
        for (key, name) in pending {
            let id: uuid::Uuid = key["deleting/".len()..]
                .parse()
                .map_err(|_| CatalogError::Invalid(key.clone()))?;
            let id = TopicId::new(id.into_bytes());
            // A topic of that name that lives was created after the old directory had moved away.
            if self.image.topic(&name).is_none() {
                self.move_to_trash(&name, id)?;
            }
            self.empty_trash(id)?;
        }
        Ok(())
    }

    /// Creates a topic and its directories.
    ///
    /// # Errors
    /// What is wrong with the request, or the store's.
    pub fn create(&mut self, new: &NewTopic) -> Result<Arc<Topic>, ControlError> {
        topic::check_name(&new.name).map_err(|error| ControlError::InvalidName(error.to_string()))?;
        if self.image.topic(&new.name).is_some() {
            return Err(ControlError::TopicExists(new.name.clone()));
        }
        if let Some(taken) = self.image.colliding(&new.name) {
            let message = format!("topic {:?} collides with the existing topic {taken:?}", new.name);
            return Err(ControlError::InvalidName(message));
        }
        let partitions = new.partitions.unwrap_or(self.default_partitions);
        self.check_partitions(partitions, partitions)?;
        topic::check_overrides(&new.configs).map_err(invalid_config)?;
        self.make_directories(&new.name, partitions)
            .map_err(storage_error)?;
        let record = TopicRecord {
            id: entropy::uuid(),
            partitions,
            configs: new.configs.clone(),
        };
        let key = format!("topics/{}", new.name);
        let txn = Txn::new()
            .expect(&*key, Expected::Absent)
            .put(&*key, to_json(&record));
        self.commit(txn).map_err(store_error)?;
        Ok(self.put(&new.name, &record))
    }

    /// Grows a topic.
    ///
    /// # Errors
    /// What is wrong with the request, or the store's.
    pub fn set_partitions(&mut self, name: &str, partitions: u32) -> Result<Arc<Topic>, ControlError> {
        let topic = self.clients_own(name)?;
        if partitions <= topic.partitions {
            let message = format!(
                "topic {name:?} has {} partitions; it can only grow",
                topic.partitions
            );
            return Err(ControlError::InvalidPartitions(message));
        }
        self.check_partitions(partitions, partitions - topic.partitions)?;
        self.make_directories(name, partitions).map_err(storage_error)?;
        self.replace(&topic, partitions, topic.overrides.clone())
    }

    /// Changes explicit configuration, or says whether it could.
    ///
    /// # Errors
    /// What is wrong with the request, or the store's.
    pub fn alter(&mut self, request: &AlterConfigs) -> Result<ControlReply, ControlError> {
        match &request.resource {
            ConfigResource::Topic(name) => {
                let topic = self.known(name)?;
                let overrides = self.altered_topic(&topic, &request.alteration)?;
                if request.validate_only || overrides == topic.overrides {
                    return Ok(ControlReply::Altered);
                }
                self.replace(&topic, topic.partitions, overrides)
                    .map(ControlReply::Topic)
            }
            ConfigResource::Broker(scope) => {
                let values = self.altered_broker(*scope, &request.alteration)?;
                if !request.validate_only && values != *self.image.broker().set(*scope) {
                    self.set_broker(*scope, values)?;
                }
                Ok(ControlReply::Altered)
            }
        }
    }

    fn altered_topic(
        &self,
        topic: &Topic,
        alteration: &Alteration,
    ) -> Result<BTreeMap<String, String>, ControlError> {
        let broker = self.image.broker();
        let overrides = alteration
            .apply(&topic.overrides, |key| broker.topic_list(key, &topic.overrides))
            .map_err(not_a_list)?;
        topic::check_overrides(&overrides).map_err(invalid_config)?;
        Ok(overrides)
    }

    fn altered_broker(
        &self,
        scope: Scope,
        alteration: &Alteration,
    ) -> Result<BTreeMap<String, String>, ControlError> {
        let broker = self.image.broker();
        let values = alteration
            .apply(broker.set(scope), |key| broker.list(scope, key))
            .map_err(not_a_list)?;
        broker_config::check(&values).map_err(invalid_broker_config)?;
        Ok(values)
    }

    fn set_broker(&mut self, scope: Scope, configs: BTreeMap<String, String>) -> Result<(), ControlError> {
        let record = to_json(&BrokerConfigsRecord {
            configs: configs.clone(),
        });
        let txn = Txn::new().put(broker_configs_key(scope), record);
        self.commit(txn).map_err(store_error)?;
        let mut image = Image::clone(&self.image);
        image.set_broker(Arc::new(BrokerConfig::clone(image.broker()).with(scope, configs)));
        self.set_image(image);
        Ok(())
    }

    /// Removes a topic from the catalogue; its files are still there. See the module for the steps that follow.
    ///
    /// # Errors
    /// Unknown topic, or the store's.
    pub fn delete(&mut self, name: &str) -> Result<Arc<Topic>, ControlError> {
        let topic = self.clients_own(name)?;
        let tombstone = to_json(&TombstoneRecord {
            name: name.to_owned(),
        });
        let txn = Txn::new()
            .delete(format!("topics/{name}"))
            .put(format!("deleting/{}", topic.id), tombstone);
        self.commit(txn).map_err(store_error)?;
        let mut image = Image::clone(&self.image);
        image.remove(name);
        self.set_image(image);
        Ok(topic)
    }

    /// Moves a deleted topic's directory out of the way of a new topic of its name; nobody has its files open.
    ///
    /// # Errors
    /// The file system's.
    pub fn move_to_trash(&mut self, name: &str, id: TopicId) -> Result<(), storage::Error> {
        let moved = self.rename_to_trash(name, id);
        self.judge(moved)
    }

    fn rename_to_trash(&self, name: &str, id: TopicId) -> Result<(), storage::Error> {
        let (from, to) = (self.data.topic(name), self.data.trashed(id));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(storage::Error::io("rename", &from)(error))
            }
            _ => {
                sync_directory(&self.data.topics())?;
                sync_directory(&self.data.trash())
            }
        }
    }

    /// Removes a trashed topic's files and its tombstone.
    ///
    /// # Errors
    /// The file system's or the store's; the next start tries again.
    pub fn empty_trash(&mut self, id: TopicId) -> Result<(), CatalogError> {
        let path = self.data.trashed(id);
        match fs::remove_directory_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let failed = storage::Error::io("remove", &path)(error);
                self.judge(Err(failed))?;
            }
            _ => {}
        }
        self.commit(Txn::new().delete(format!("deleting/{id}")))?;
        Ok(())
    }

    /// A block of producer ids nobody had and nobody will have.
    ///
    /// # Errors
    /// The store's.
    pub fn producer_ids(&mut self) -> Result<Range<i64>, ControlError> {
        let next = match self.store.get(PRODUCER_IDS_KEY) {
            Some(item) => {
                parse::<ProducerIdsRecord>(PRODUCER_IDS_KEY, &item.value)
                    .map_err(|error| ControlError::Storage(error.to_string()))?
                    .next
            }
            None => 0,
        };
        let end = next + PRODUCER_ID_BLOCK;
        let txn = Txn::new().put(PRODUCER_IDS_KEY, to_json(&ProducerIdsRecord { next: end }));
        self.commit(txn).map_err(store_error)?;
        Ok(next..end)
    }

    fn known(&self, name: &str) -> Result<Arc<Topic>, ControlError> {
        self.image
            .topic(name)
            .cloned()
            .ok_or_else(|| ControlError::UnknownTopic(name.to_owned()))
    }

    /// The topic of that name, if clients may do with it as they like.
    fn clients_own(&self, name: &str) -> Result<Arc<Topic>, ControlError> {
        if topic::is_internal(name) {
            return Err(ControlError::InternalTopic(name.to_owned()));
        }
        self.known(name)
    }

    fn check_partitions(&self, partitions: u32, more: u32) -> Result<(), ControlError> {
        if partitions == 0 || partitions > PARTITIONS_MAX {
            return Err(ControlError::InvalidPartitions(format!(
                "{partitions} is not from 1 to {PARTITIONS_MAX}"
            )));
        }
        if self.image.partition_count() + u64::from(more) > PARTITIONS_TOTAL_MAX {
            let message = format!("the broker would have more than {PARTITIONS_TOTAL_MAX} partitions");
            return Err(ControlError::InvalidPartitions(message));
        }
        Ok(())
    }

    fn commit(&mut self, txn: Txn) -> Result<(), meta_store::Error> {
        let done = self.store.commit(txn);
        done.map(drop).inspect_err(|error| {
            if self.store.is_poisoned() {
                self.failure.get_or_insert_with(|| error.to_string());
            }
        })
    }

    fn make_directories(&mut self, name: &str, partitions: u32) -> Result<(), storage::Error> {
        let made = make_directories(&self.data, name, partitions);
        self.judge(made)
    }

    /// Remembers a failure of the disk.
    fn judge<T>(&mut self, done: Result<T, storage::Error>) -> Result<T, storage::Error> {
        done.inspect_err(|error| {
            if error.is_failure() {
                self.failure.get_or_insert_with(|| error.to_string());
            }
        })
    }

    fn replace(
        &mut self,
        topic: &Topic,
        partitions: u32,
        configs: BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, ControlError> {
        let record = TopicRecord {
            id: uuid::Uuid::from_bytes(topic.id.to_bytes()),
            partitions,
            configs,
        };
        let txn = Txn::new().put(format!("topics/{}", topic.name), to_json(&record));
        self.commit(txn).map_err(store_error)?;
        Ok(self.put(&topic.name, &record))
    }

    fn put(&mut self, name: &str, record: &TopicRecord) -> Arc<Topic> {
        let mut image = Image::clone(&self.image);
        let topic = made_topic(name, record, image.broker());
        image.put(topic);
        self.set_image(image);
        Arc::clone(self.image.topic(name).expect("it was just put"))
    }

    fn set_image(&mut self, mut image: Image) {
        image.revision = self.store.revision().get();
        self.image = Arc::new(image);
    }
}

/// The topics that `store` knows: name, id and number of partitions.
///
/// # Errors
/// `Invalid` for a record that no version of this program wrote.
pub fn topics_in(store: &impl MetaStore) -> Result<Vec<(String, TopicId, u32)>, CatalogError> {
    let records = store.range("topics/");
    records
        .map(|(key, item)| {
            let record: TopicRecord = parse(key, &item.value)?;
            let id = TopicId::new(record.id.into_bytes());
            Ok((key["topics/".len()..].to_owned(), id, record.partitions))
        })
        .collect()
}

/// Why the catalogue cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The store's.
    #[error(transparent)]
    Store(#[from] meta_store::Error),
    /// The file system's.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// A topic's directory is not there. An empty log in its place would give its offsets away again.
    #[error(
        "{path} is missing, and with it the records of topic {topic:?}. Put it back, or make it anew, empty, to go on without them"
    )]
    Missing {
        /// The directory.
        path: String,
        /// The topic.
        topic: String,
    },
    /// A record no version of this program wrote.
    #[error("the metadata record {0:?} cannot be read")]
    Invalid(String),
}

fn check_directories(data: &DataDir, topic: &Topic) -> Result<(), CatalogError> {
    let directory = data.topic(&topic.name);
    let missing = |partition: &u32| !fs::is_directory(&directory.join(partition.to_string()));
    (0..topic.partitions).find(missing).map_or(Ok(()), |partition| {
        Err(CatalogError::Missing {
            path: directory.join(partition.to_string()).display().to_string(),
            topic: topic.name.to_string(),
        })
    })
}

impl CatalogError {
    /// Whether the disk failed, which is final.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Store(error) => error.is_failure(),
            Self::Storage(error) => error.is_failure(),
            Self::Missing { .. } | Self::Invalid(_) => false,
        }
    }
}

fn make_directories(data: &DataDir, name: &str, partitions: u32) -> Result<(), storage::Error> {
    let topic = data.topic(name);
    for partition in 0..partitions {
        let path = topic.join(partition.to_string());
        if !fs::is_directory(&path) {
            fs::create_directories(&path).map_err(storage::Error::io("create", &path))?;
        }
    }
    // Also those that were there: a crash may have left them, and only in the cache.
    sync_directory(&topic)?;
    sync_directory(&data.topics())
}

/// Makes the data directory's fixed places.
///
/// # Errors
/// The file system's.
pub fn make_places(data: &DataDir) -> Result<(), storage::Error> {
    for path in [
        data.root().to_owned(),
        data.meta(),
        data.pool(),
        data.topics(),
        data.trash(),
    ] {
        fs::create_directories(&path).map_err(storage::Error::io("create", &path))?;
    }
    sync_directory(data.root())?;
    sync_directory(parent(data.root()))
}

fn parse<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, CatalogError> {
    serde_json::from_slice(value).map_err(|_| CatalogError::Invalid(key.to_owned()))
}

fn to_json<T: Serialize>(record: &T) -> Vec<u8> {
    serde_json::to_vec(record).expect("records are plain data")
}

fn store_error(error: meta_store::Error) -> ControlError {
    ControlError::Storage(error.to_string())
}

fn storage_error(error: storage::Error) -> ControlError {
    ControlError::Storage(error.to_string())
}

fn made_topic(name: &str, record: &TopicRecord, broker: &BrokerConfig) -> Topic {
    Topic {
        name: name.into(),
        id: TopicId::new(record.id.into_bytes()),
        partitions: record.partitions,
        overrides: record.configs.clone(),
        settings: broker.topic_settings(&record.configs),
    }
}

fn broker_configs_key(scope: Scope) -> String {
    format!("broker-configs/{}", scope.name())
}

fn not_a_list(error: NotAList) -> ControlError {
    ControlError::InvalidConfig(error.to_string())
}

fn invalid_broker_config(error: BrokerConfigError) -> ControlError {
    match error {
        BrokerConfigError::Unknown(_) => ControlError::InvalidConfig(error.to_string()),
        BrokerConfigError::Fixed(_) | BrokerConfigError::Value { .. } => {
            ControlError::InvalidBrokerConfig(error.to_string())
        }
    }
}

fn invalid_config(error: TopicError) -> ControlError {
    ControlError::InvalidConfig(error.to_string())
}
