//! The body of a broker's registration, plain or compressed.
//!
//! Plain it is JSON. Compressed it is a zlib stream of: the version, the topics as lines of text,
//! the filter servers, and from 5.0 on the mappings; each with its length before it. What must
//! always hold: inflating takes no more than [`INFLATED_LEN_MAX`] bytes, whatever the stream
//! claims. Java: `RegisterBrokerBody`.

use super::topic_config::{DataVersion, TopicConfig, TopicConfigSerializeWrapper};
use super::{BodyError, dialect};
use crate::language::version_ordinal;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};

/// The most that a compressed body may inflate to, in bytes.
pub const INFLATED_LEN_MAX: usize = 8 * 1024 * 1024;

/// From this version on the compressed form ends with the mappings.
const VERSION_OF_MAPPINGS: i32 = version_ordinal(5, 0, 0);

/// The body of `REGISTER_BROKER` (103).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RegisterBrokerBody {
    /// Filter servers; obsolete.
    pub filter_server_list: Vec<String>,
    /// The topics.
    pub topic_config_serialize_wrapper: TopicConfigSerializeWrapper,
}

impl RegisterBrokerBody {
    /// Reads the body of a broker of `version`.
    pub fn decode(bytes: &[u8], compressed: bool, version: i32) -> Result<Self, BodyError> {
        if compressed {
            read_inflated(&inflate(bytes)?, version)
        } else {
            dialect::from_slice(bytes)
        }
    }

    /// Reads the body of a broker before 3.0.11: the topics alone.
    pub fn decode_topics_only(bytes: &[u8]) -> Result<Self, BodyError> {
        let topic_config_serialize_wrapper = dialect::from_slice(bytes)?;
        Ok(Self {
            topic_config_serialize_wrapper,
            ..Self::default()
        })
    }

    /// Writes the compressed form of our own version.
    pub fn encode_compressed(&self) -> Vec<u8> {
        let wrapper = &self.topic_config_serialize_wrapper;
        let mut out = Vec::new();
        put_json(&mut out, &wrapper.data_version);
        put_length(&mut out, wrapper.topic_config_table.len());
        for topic in wrapper.topic_config_table.values() {
            put(&mut out, line_of(topic).as_bytes());
        }
        put_json(&mut out, &self.filter_server_list);
        put_length(&mut out, wrapper.topic_queue_mapping_info_map.len());
        for mapping in wrapper.topic_queue_mapping_info_map.values() {
            put_json(&mut out, mapping);
        }
        deflate(&out)
    }
}

fn inflate(bytes: &[u8]) -> Result<Vec<u8>, BodyError> {
    let mut inflated = Vec::new();
    let limit = INFLATED_LEN_MAX as u64 + 1;
    let read = ZlibDecoder::new(bytes)
        .take(limit)
        .read_to_end(&mut inflated);
    read.map_err(BodyError::Inflate)?;
    if inflated.len() > INFLATED_LEN_MAX {
        return Err(BodyError::InflatesTooFar(INFLATED_LEN_MAX));
    }
    Ok(inflated)
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("memory takes every write")
}

fn read_inflated(bytes: &[u8], version: i32) -> Result<RegisterBrokerBody, BodyError> {
    let mut rest = Pieces(bytes);
    let mut body = RegisterBrokerBody::default();
    let wrapper = &mut body.topic_config_serialize_wrapper;
    wrapper.data_version = dialect::from_slice::<DataVersion>(rest.next()?)?;
    for _ in 0..rest.length()? {
        let topic = topic_of(rest.next()?)?;
        wrapper
            .topic_config_table
            .insert(topic.topic_name.clone(), topic);
    }
    body.filter_server_list = dialect::from_slice(rest.next()?)?;
    if version >= VERSION_OF_MAPPINGS {
        for _ in 0..rest.length()? {
            let mapping: serde_json::Value = dialect::from_slice(rest.next()?)?;
            let name = mapping["topic"].as_str().unwrap_or_default().to_owned();
            wrapper.topic_queue_mapping_info_map.insert(name, mapping);
        }
    }
    Ok(body)
}

/// Java `TopicConfig.encode`: fields separated by blanks, the attributes as JSON at the end.
fn line_of(topic: &TopicConfig) -> String {
    let TopicConfig {
        topic_name,
        read_queue_nums,
        write_queue_nums,
        perm,
        ..
    } = topic;
    let filter = &topic.topic_filter_type;
    let mut line = format!("{topic_name} {read_queue_nums} {write_queue_nums} {perm} {filter} ");
    if !topic.attributes.is_empty() {
        let mut attributes = Vec::new();
        dialect::put(&mut attributes, &topic.attributes);
        line.push_str(&String::from_utf8_lossy(&attributes));
    }
    line
}

/// Java `TopicConfig.decode`: five fields; what cannot be read of the sixth is left out.
fn topic_of(line: &[u8]) -> Result<TopicConfig, BodyError> {
    let malformed = || BodyError::Registration("a topic is no line of five fields");
    let line = std::str::from_utf8(line).map_err(|_| malformed())?;
    let mut fields = line.splitn(6, ' ');
    let mut next = || fields.next().ok_or_else(malformed);
    let number = |text: &str| text.parse().map_err(|_| malformed());
    let name = next()?;
    let (read, write) = (number(next()?)?, number(next()?)?);
    let mut topic = TopicConfig::new(name, read, write, number(next()?)?);
    next()?.clone_into(&mut topic.topic_filter_type);
    if let Some(attributes) = fields.next() {
        topic.attributes = dialect::from_slice(attributes.as_bytes()).unwrap_or_default();
    }
    Ok(topic)
}

fn put_json(out: &mut Vec<u8>, value: &impl Serialize) {
    let mut json = Vec::new();
    dialect::put(&mut json, value);
    put(out, &json);
}

fn put(out: &mut Vec<u8>, piece: &[u8]) {
    put_length(out, piece.len());
    out.extend_from_slice(piece);
}

fn put_length(out: &mut Vec<u8>, len: usize) {
    let len = i32::try_from(len).expect("registrations are far below 2 GiB");
    out.extend_from_slice(&len.to_be_bytes());
}

/// What is left of the inflated form.
struct Pieces<'a>(&'a [u8]);

impl<'a> Pieces<'a> {
    fn length(&mut self) -> Result<usize, BodyError> {
        let split = self.0.split_first_chunk();
        let (word, rest) = split.ok_or(BodyError::Registration("it ends inside a length"))?;
        self.0 = rest;
        usize::try_from(i32::from_be_bytes(*word))
            .map_err(|_| BodyError::Registration("a length is negative"))
    }

    fn next(&mut self) -> Result<&'a [u8], BodyError> {
        let split = self.length().map(|len| self.0.split_at_checked(len))?;
        let (piece, rest) = split.ok_or(BodyError::Registration("it ends inside a piece"))?;
        self.0 = rest;
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::SERVER_VERSION;

    fn sample() -> RegisterBrokerBody {
        let mut body = RegisterBrokerBody::default();
        let wrapper = &mut body.topic_config_serialize_wrapper;
        wrapper.data_version.counter = 7;
        let mut topic = TopicConfig::new("TopicTest", 4, 8, 6);
        topic
            .attributes
            .insert("message.type".to_owned(), "NORMAL".to_owned());
        for topic in [topic, TopicConfig::new("%RETRY%g", 1, 1, 6)] {
            wrapper
                .topic_config_table
                .insert(topic.topic_name.clone(), topic);
        }
        body
    }

    #[test]
    fn both_forms_read_back() {
        let body = sample();
        let compressed = body.encode_compressed();
        assert_eq!(
            RegisterBrokerBody::decode(&compressed, true, SERVER_VERSION).unwrap(),
            body
        );
        let plain = serde_json::to_vec(&body).unwrap();
        assert_eq!(
            RegisterBrokerBody::decode(&plain, false, SERVER_VERSION).unwrap(),
            body
        );
        let topics = serde_json::to_vec(&body.topic_config_serialize_wrapper).unwrap();
        assert_eq!(
            RegisterBrokerBody::decode_topics_only(&topics).unwrap(),
            body
        );
    }

    #[test]
    fn the_form_of_4_9_has_no_attributes_and_no_mappings() {
        let mut inflated = Vec::new();
        put(&mut inflated, br#"{"counter":7,"timestamp":5}"#);
        put_length(&mut inflated, 1);
        put(&mut inflated, b"T1 8 4 6 SINGLE_TAG");
        put(&mut inflated, b"[]");
        let body = RegisterBrokerBody::decode(&deflate(&inflated), true, 409).unwrap();
        let wrapper = body.topic_config_serialize_wrapper;
        assert_eq!(
            wrapper.data_version,
            DataVersion {
                counter: 7,
                state_version: 0,
                timestamp: 5
            }
        );
        assert_eq!(
            wrapper.topic_config_table["T1"],
            TopicConfig::new("T1", 8, 4, 6)
        );
        let short = RegisterBrokerBody::decode(&deflate(&inflated), true, SERVER_VERSION);
        assert!(short.is_err(), "5.x has mappings");
    }

    #[test]
    fn every_truncation_is_an_error() {
        let compressed = sample().encode_compressed();
        for len in 0..compressed.len() {
            let cut = RegisterBrokerBody::decode(&compressed[..len], true, SERVER_VERSION);
            assert!(cut.is_err(), "{len}");
        }
        let inflated = inflate(&compressed).unwrap();
        for len in 0..inflated.len() {
            assert!(
                read_inflated(&inflated[..len], SERVER_VERSION).is_err(),
                "{len}"
            );
        }
    }

    #[test]
    fn a_stream_that_inflates_too_far_is_refused() {
        let bomb = deflate(&vec![0; INFLATED_LEN_MAX + 1]);
        assert!(bomb.len() < 100_000);
        let refused = RegisterBrokerBody::decode(&bomb, true, SERVER_VERSION);
        assert!(matches!(
            refused,
            Err(BodyError::InflatesTooFar(INFLATED_LEN_MAX))
        ));
    }

    #[test]
    fn counts_that_cannot_be_are_errors() {
        for count in [-1, i32::MAX] {
            let mut inflated = Vec::new();
            put(&mut inflated, b"{}");
            inflated.extend_from_slice(&i32::to_be_bytes(count));
            assert!(read_inflated(&inflated, SERVER_VERSION).is_err());
        }
    }
}
