//! What the client library says by itself: which topic it is, that it became another one, and why brokers cannot be
//! reached.
//!
//! The library knows the identity that brokers give a topic, but tells it only in a line of its log, on which it also
//! goes on reading where it was. A topic that was deleted and created again under our eyes is told by nothing else when it
//! has more records than were read of the first one. The version of the library is pinned, and a test with a real broker
//! fails when the line does.
//!
//! A question that brokers do not answer fails with "timed out", whatever the reason. A refused password or certificate is
//! told in the log only, and once: what is the same again is left out for half a minute.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

/// The identity of a topic whose brokers give none.
const NO_IDENTITY: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// How the library calls what waiting does not mend.
const REJECTIONS: [&str; 2] = ["SASL authentication error", "SSL handshake failed"];

/// What is known of the topic from what the library says.
#[derive(Debug)]
pub(super) struct Notices {
    topic: String,
    identity: Mutex<Option<String>>,
    /// Why the last connection failed.
    failure: Mutex<Option<String>>,
    recreated: AtomicBool,
}

impl Notices {
    /// Nothing but what a position says.
    pub(super) fn new(topic: &str, identity: Option<String>) -> Notices {
        Notices {
            topic: topic.to_owned(),
            identity: Mutex::new(identity),
            failure: Mutex::default(),
            recreated: AtomicBool::new(false),
        }
    }

    /// The identity of the topic, once the brokers have told it.
    pub(super) fn identity(&self) -> Option<String> {
        self.identity.lock().expect("no thread panics while it holds the identity of a topic").clone()
    }

    /// The brokers have another topic of the name than the one that was read.
    #[inline]
    pub(super) fn recreated(&self) -> bool {
        self.recreated.load(Ordering::Relaxed)
    }

    /// Why the last connection failed, if one did since the brokers answered.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().expect("no thread panics while it holds a text").clone()
    }

    /// Whether the last connection failed for a reason that waiting does not mend: a password or a certificate.
    pub(super) fn rejected(&self) -> bool {
        self.failure().is_some_and(|failure| REJECTIONS.iter().any(|rejection| failure.contains(rejection)))
    }

    /// The brokers have answered.
    pub(super) fn answered(&self) {
        self.failure.lock().expect("no thread panics while it holds a text").take();
    }

    /// Takes note of a line of the library's log, whose level is that of syslog.
    pub(super) fn line(&self, level: i32, facility: &str, line: &str) {
        if facility == "FAIL" && level <= RDKafkaLogLevel::Error as i32 {
            self.note_failure(line);
        } else {
            self.notice(line);
        }
        tracing::debug!(topic = self.topic, "{line}");
    }

    fn note_failure(&self, line: &str) {
        // The name of the library's thread stands in front.
        let reason = line.split_once("]: ").map_or(line, |(_, reason)| reason).trim();
        *self.failure.lock().expect("no thread panics while it holds a text") = Some(reason.to_owned());
    }

    fn notice(&self, line: &str) {
        let Some((_, line)) = line.split_once("Topic ") else { return };
        let mut words = line.split(' ');
        if words.next() != Some(&self.topic) || !words.by_ref().take(3).eq(["changed", "id", "from"]) {
            return;
        }
        let Some(identity) = words.nth(2).filter(|identity| *identity != NO_IDENTITY) else { return };
        let mut known = self.identity.lock().expect("no thread panics while it holds the identity of a topic");
        match &*known {
            Some(known) if known != identity => self.recreated.store(true, Ordering::Relaxed),
            Some(_) => {}
            None => *known = Some(identity.to_owned()),
        }
    }
}

impl ClientContext for Notices {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.line(level as i32, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(topic = self.topic, %error, reason, "the Kafka client reports an error");
    }
}

impl ConsumerContext for Notices {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_keeps_its_first_identity_and_another_one_is_noticed() {
        let notices = Notices::new("t", None);
        notices.notice("[thrd:main]: Topic other changed id from AAAAAAAAAAAAAAAAAAAAAA to b");
        notices.notice("[thrd:main]: Topic t changed id from x to AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(notices.identity(), None);
        notices.notice("[thrd:main]: Topic t changed id from AAAAAAAAAAAAAAAAAAAAAA to one");
        notices.notice("[thrd:main]: Topic t changed id from AAAAAAAAAAAAAAAAAAAAAA to one");
        assert_eq!((notices.identity().as_deref(), notices.recreated()), (Some("one"), false));
        notices.notice("[thrd:main]: Topic t changed id from one to two");
        assert_eq!((notices.identity().as_deref(), notices.recreated()), (Some("one"), true));
    }

    #[test]
    fn the_reason_of_a_failed_connection_is_kept_until_the_brokers_answer() {
        let notices = Notices::new("t", None);
        let line =
            "[thrd:sasl_ssl://b:1/bootstrap]: sasl_ssl://b:1/bootstrap: Connect to ipv4#1 failed: Connection refused";
        notices.line(RDKafkaLogLevel::Error as i32, "FAIL", line);
        assert_eq!(
            notices.failure().as_deref(),
            Some("sasl_ssl://b:1/bootstrap: Connect to ipv4#1 failed: Connection refused")
        );
        assert!(!notices.rejected());
        notices.line(RDKafkaLogLevel::Error as i32, "FAIL", "[thrd:x]: x: SASL authentication error: no such user");
        notices.line(RDKafkaLogLevel::Info as i32, "FAIL", "[thrd:x]: x: Disconnected");
        assert!(notices.rejected());
        notices.answered();
        assert_eq!(notices.failure(), None);
    }
}
