//! What is recorded, before it has a place in the chain.

use serde_json::{Map, Value};

/// What is to be recorded: an event's name and its circumstances.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub(super) event: &'static str,
    pub(super) fields: Map<String, Value>,
}

impl Entry {
    /// A record of this event.
    #[must_use]
    pub fn new(event: &'static str) -> Self {
        Self {
            event,
            fields: Map::new(),
        }
    }

    /// Adds a circumstance.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a circumstance if there is one.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The event's name.
    #[must_use]
    pub fn event(&self) -> &'static str {
        self.event
    }

    /// One circumstance.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }
}
