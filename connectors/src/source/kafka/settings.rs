//! The settings of the client: ours, those of the statement, and what neither may change.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use crate::source::{KafkaOptions, SourceError};

/// What the statement must not set, and what to do instead.
const OURS: [(&str, &str); 13] = [
    ("bootstrap.servers", "write BROKERS"),
    ("metadata.broker.list", "write BROKERS"),
    ("auto.offset.reset", "it is always error: a gap is never passed over; write START OFFSET or START TIMESTAMP"),
    ("enable.auto.commit", "positions are kept in the log of this server: leave it out"),
    ("enable.auto.offset.store", "positions are kept in the log of this server: leave it out"),
    ("auto.commit.enable", "positions are kept in the log of this server: leave it out"),
    ("enable.partition.eof", "leave it out"),
    ("isolation.level", "it is always read_committed: leave it out"),
    ("allow.auto.create.topics", "a source creates no topic: leave it out"),
    ("debug", "set the log level of the server instead"),
    ("log_level", "set the log level of the server instead"),
    ("log.queue", "leave it out"),
    ("plugin.library.paths", "leave it out"),
];

/// Why a statement cannot set the property, if so.
pub(in crate::source) fn refused_property(name: &str, value: &str) -> Option<String> {
    if let Some((_, instead)) = OURS.iter().find(|(ours, _)| *ours == name) {
        return Some((*instead).to_owned());
    }
    let plaintext = value.eq_ignore_ascii_case("plaintext") || value.contains("${");
    if name == "security.protocol" && !plaintext || name.starts_with("ssl.") || name.starts_with("sasl.") {
        let reason = "TLS and SASL are not supported: this build speaks PLAINTEXT only, so read from a listener without \
                      them or through a tunnel";
        return Some(reason.to_owned());
    }
    None
}

/// The client's settings, with the values of `environment` in place of `${NAME}`.
pub(super) fn client(
    options: &KafkaOptions,
    group: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<ClientConfig, SourceError> {
    let mut config = ClientConfig::new();
    // Less memory than the library would take by itself, and enough for seconds of reading.
    config.set("queued.min.messages", "50000").set("queued.max.messages.kbytes", "16384");
    // By itself it would rest for a second whenever that much is queued.
    config.set("fetch.queue.backoff.ms", "5");
    config.set("fetch.wait.max.ms", "100").set("fetch.error.backoff.ms", "100");
    config.set("reconnect.backoff.max.ms", "2000").set("client.id", "headwater").set("group.id", group);
    config.set("bootstrap.servers", expand("BROKERS", &options.brokers, &environment)?);
    for (name, value) in &options.properties {
        let value = expand(name, value, &environment)?;
        if let Some(reason) = refused_property(name, &value) {
            return Err(SourceError::Property { name: name.clone(), reason });
        }
        config.set(name, value);
    }
    config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    config.set("auto.offset.reset", "error").set("enable.partition.eof", "true");
    config.set("isolation.level", "read_committed").set("check.crcs", "true");
    config.set("allow.auto.create.topics", "false");
    // The identity of a topic is told nowhere but in these lines; see `notice`.
    config.set("debug", "topic").set_log_level(RDKafkaLogLevel::Debug);
    Ok(config)
}

/// What the client library says of its settings, without their values, which may be secret.
pub(super) fn refusal(error: KafkaError) -> SourceError {
    match error {
        KafkaError::ClientConfig(_, _, name, _) => SourceError::Property {
            name,
            reason: "the client library refuses it; is the value one of its kind?".into(),
        },
        other => SourceError::Client { reason: other.to_string() },
    }
}

/// Puts the environment's values in place of `${NAME}`.
fn expand(property: &str, value: &str, environment: &impl Fn(&str) -> Option<String>) -> Result<String, SourceError> {
    let mut text = String::new();
    let mut rest = value;
    while let Some((before, behind)) = rest.split_once("${") {
        let Some((name, after)) = behind.split_once('}') else { break };
        text.push_str(before);
        let missing = || SourceError::Environment { property: property.to_owned(), name: name.to_owned() };
        text.push_str(&environment(name).ok_or_else(missing)?);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::KafkaStart;

    fn options(properties: &[(&str, &str)]) -> KafkaOptions {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        KafkaOptions {
            brokers: "${HOST}:9092".to_owned(),
            topic: "t".to_owned(),
            start: KafkaStart::Earliest,
            record_bytes_max: 100,
            properties: properties.iter().map(own).collect(),
            included: Vec::new(),
        }
    }

    fn environment(name: &str) -> Option<String> {
        (name == "HOST").then(|| "broker".to_owned())
    }

    #[test]
    fn the_environment_is_read_and_what_it_lacks_is_named() {
        let config = client(&options(&[("client.id", "a${HOST}b${HOST}")]), "g", environment).unwrap();
        assert_eq!(config.get("bootstrap.servers"), Some("broker:9092"));
        assert_eq!(config.get("client.id"), Some("abrokerbbroker"));
        let error = client(&options(&[("client.id", "${SECRET}")]), "g", environment).unwrap_err().to_string();
        assert!(error.contains("property client.id names ${SECRET}"), "{error}");
    }

    #[test]
    fn what_is_ours_or_not_there_is_refused_by_name() {
        for (name, value, said) in [
            ("auto.offset.reset", "latest", "START OFFSET"),
            ("security.protocol", "SASL_SSL", "PLAINTEXT only"),
            ("ssl.ca.location", "/x", "PLAINTEXT only"),
        ] {
            let error = client(&options(&[(name, value)]), "g", environment).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(said), "{error}");
        }
        assert_eq!(refused_property("security.protocol", "plaintext"), None);
    }

    #[test]
    fn a_value_that_the_library_refuses_is_not_shown() {
        let config = client(&options(&[("fetch.wait.max.ms", "secret")]), "g", environment).unwrap();
        let created: Result<rdkafka::consumer::BaseConsumer, _> = config.create();
        let error = refusal(created.err().unwrap()).to_string();
        assert!(error.contains("fetch.wait.max.ms") && !error.contains("secret"), "{error}");
    }
}
