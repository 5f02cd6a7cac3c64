//! What the client library says by itself: which topic it is, and that it became another one.
//!
//! The library knows the identity that brokers give a topic, but tells it only in a line of its log, on which it also
//! goes on reading where it was. A topic that was deleted and created again under our eyes is told by nothing else when it
//! has more records than were read of the first one. The version of the library is pinned, and a test with a real broker
//! fails when the line does.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

/// The identity of a topic whose brokers give none.
const NO_IDENTITY: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// What is known of the topic from what the library says.
#[derive(Debug)]
pub(super) struct Notices {
    topic: String,
    identity: Mutex<Option<String>>,
    recreated: AtomicBool,
}

impl Notices {
    /// Nothing but what a position says.
    pub(super) fn new(topic: &str, identity: Option<String>) -> Notices {
        Notices { topic: topic.to_owned(), identity: Mutex::new(identity), recreated: AtomicBool::new(false) }
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
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, line: &str) {
        self.notice(line);
        tracing::debug!(topic = self.topic, "{line}");
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
}
