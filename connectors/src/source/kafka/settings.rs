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

/// What must not stand in a statement, because statements are stored and shown.
const SECRETS: [&str; 4] = ["sasl.password", "ssl.key.password", "ssl.keystore.password", "ssl.key.pem"];

/// What a source without TLS would need of the build.
const BUILD: &str = "TLS and SCRAM are not supported in this build: build it with --features kafka-tls, which needs OpenSSL \
                     (libssl-dev and pkg-config), or read from a listener without them";

/// Why a statement cannot set the property, if so. `value` is as it is written.
pub(in crate::source) fn refused_property(name: &str, value: &str) -> Option<String> {
    if SECRETS.contains(&name) && !value.contains("${") {
        return Some(
            "a secret is never stored: write '${NAME}', and set NAME in the environment of the server".to_owned(),
        );
    }
    refused(name, value)
}

/// Why no build lets the property have the value.
fn refused(name: &str, value: &str) -> Option<String> {
    if let Some((_, instead)) = OURS.iter().find(|(ours, _)| *ours == name) {
        return Some((*instead).to_owned());
    }
    let mechanism = ["sasl.mechanism", "sasl.mechanisms"].contains(&name) && !value.contains("${");
    let known = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].iter().any(|known| value.eq_ignore_ascii_case(known));
    let others = ["sasl.kerberos.", "sasl.oauthbearer."].iter().any(|prefix| name.starts_with(prefix));
    let others = others || name == "enable.sasl.oauthbearer.unsecure.jwt";
    (others || mechanism && !known)
        .then(|| "the SASL mechanisms are PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512: use one of them".to_owned())
}

/// Whether only a build with TLS can do what the property asks for.
fn needs_tls(name: &str, value: &str) -> bool {
    let value = value.to_ascii_uppercase();
    match name {
        "security.protocol" => value.ends_with("SSL"),
        "sasl.mechanism" | "sasl.mechanisms" => value.starts_with("SCRAM"),
        _ => name.starts_with("ssl.") || name == "enable.ssl.certificate.verification",
    }
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
        let lacks = needs_tls(name, &value) && !cfg!(feature = "kafka-tls");
        if let Some(reason) = refused(name, &value).or_else(|| lacks.then(|| BUILD.to_owned())) {
            return Err(SourceError::Property { name: name.clone(), reason });
        }
        config.set(name, value);
    }
    check_mechanism(&config)?;
    config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    config.set("auto.offset.reset", "error").set("enable.partition.eof", "true");
    config.set("isolation.level", "read_committed").set("check.crcs", "true");
    config.set("allow.auto.create.topics", "false");
    // The identity of a topic is told nowhere but in these lines; see `notice`.
    config.set("debug", "topic").set_log_level(RDKafkaLogLevel::Debug);
    Ok(config)
}

/// The library's own choice of a mechanism is one that is not built in.
fn check_mechanism(config: &ClientConfig) -> Result<(), SourceError> {
    let sasl =
        config.get("security.protocol").is_some_and(|protocol| protocol.to_ascii_uppercase().starts_with("SASL"));
    let named = ["sasl.mechanism", "sasl.mechanisms"].iter().any(|name| config.get(name).is_some());
    if !sasl || named {
        return Ok(());
    }
    let reason = "is missing: write 'sasl.mechanism' 'PLAIN', or SCRAM-SHA-256 or SCRAM-SHA-512".to_owned();
    Err(SourceError::Property { name: "sasl.mechanism".to_owned(), reason })
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
    fn what_is_ours_is_refused_by_name() {
        for (name, value, said) in [
            ("auto.offset.reset", "latest", "START OFFSET"),
            ("sasl.mechanism", "GSSAPI", "the SASL mechanisms are PLAIN"),
            ("sasl.oauthbearer.config", "x", "the SASL mechanisms are PLAIN"),
            ("security.protocol", "SASL_PLAINTEXT", "property sasl.mechanism: is missing"),
        ] {
            let error = client(&options(&[(name, value)]), "g", environment).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        assert_eq!(refused_property("security.protocol", "plaintext"), None);
        assert_eq!(refused_property("sasl.password", "${WORD}"), None);
        let refused = refused_property("sasl.password", "a word").unwrap();
        assert!(refused.contains("never stored") && !refused.contains("a word"), "{refused}");
    }

    #[test]
    fn tls_needs_a_build_that_has_it() {
        for (name, value) in
            [("security.protocol", "ssl"), ("sasl.mechanism", "SCRAM-SHA-512"), ("ssl.ca.location", "/x")]
        {
            let made = client(&options(&[(name, value)]), "g", environment);
            if cfg!(feature = "kafka-tls") {
                assert_eq!(made.unwrap().get(name), Some(value));
            } else {
                let error = made.unwrap_err().to_string();
                assert!(error.contains(name) && error.contains("--features kafka-tls"), "{error}");
            }
        }
        let plain = [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN")];
        assert!(client(&options(&plain), "g", environment).is_ok());
    }

    #[test]
    fn a_value_that_the_library_refuses_is_not_shown() {
        let config = client(&options(&[("fetch.wait.max.ms", "secret")]), "g", environment).unwrap();
        let created: Result<rdkafka::consumer::BaseConsumer, _> = config.create();
        let error = refusal(created.err().unwrap()).to_string();
        assert!(error.contains("fetch.wait.max.ms") && !error.contains("secret"), "{error}");
    }
}
