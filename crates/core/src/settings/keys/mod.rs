//! The `[[key]]` and `[[price]]` tables: what the holders of keys may do, and what models cost.

mod fields;
mod listing;
mod read;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use secrecy::SecretString;
use serde_json::Value;

use super::{AllowedProtocol, ModelPattern};
use crate::caller::KeyDigest;
use crate::policy::budget::{Limits, Price};
use crate::time::Timestamp;
pub(super) use fields::PROXY_KEYS_JSON;
pub use fields::{FieldKind, KEY_FIELDS, PRICE_FIELDS, TableField};

/// The tables as they are in the file. A shell gives times as strings in RFC 3339.
#[derive(Clone, Default)]
pub struct KeyTables {
    /// The `[[key]]` tables. They may hold secrets.
    pub keys: Vec<Value>,
    /// The `[[price]]` tables.
    pub prices: Vec<Value>,
}

impl KeyTables {
    /// No tables.
    pub const NONE: Self = Self { keys: Vec::new(), prices: Vec::new() };

    /// True if there is no table.
    pub fn are_none(&self) -> bool {
        self.keys.is_empty() && self.prices.is_empty()
    }

    /// The tables of `PROXY_KEYS_JSON`.
    ///
    /// # Errors
    ///
    /// The text is no JSON object with these two lists. What is in the lists is not looked at.
    pub fn from_json(text: &str) -> Result<Self, KeyTablesError> {
        let all: Value = serde_json::from_str(text)
            .map_err(|error| KeyTablesError::NoJson(error.line(), error.column()))?;
        let Value::Object(all) = all else { return Err(KeyTablesError::NoObject) };
        let mut tables = Self::NONE;
        for (name, value) in all {
            let list = match &*name {
                "key" => &mut tables.keys,
                "price" => &mut tables.prices,
                _ => return Err(KeyTablesError::Unknown),
            };
            let Value::Array(values) = value else { return Err(KeyTablesError::NoList) };
            *list = values;
        }
        Ok(tables)
    }
}

/// Why a text holds no tables. Never quotes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyTablesError {
    /// It is no JSON.
    #[error("is no JSON (line {0}, column {1})")]
    NoJson(usize, usize),
    /// `key` or `price` is something else than a list.
    #[error("has a `key` or `price` that is no list")]
    NoList,
    /// It is JSON and no object.
    #[error("is no JSON object")]
    NoObject,
    /// It has a member with another name.
    #[error("has something else than `key` and `price`")]
    Unknown,
}

impl std::fmt::Debug for KeyTables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyTables")
            .field("keys", &self.keys.len())
            .field("prices", &self.prices.len())
            .finish()
    }
}

/// One `[[key]]` table.
#[derive(Debug, Clone)]
pub struct KeySettings {
    /// `id`: the name in logs, metrics and usage. Tables with the same one share their limits' counts.
    pub id: Arc<str>,
    /// `hash`, or the digest of `key`.
    pub digest: KeyDigest,
    /// `models`; empty is all.
    pub models: Vec<ModelPattern>,
    /// `upstreams`, in order; empty is all, in the operator's order.
    pub upstreams: Vec<Arc<str>>,
    /// `requests_per_minute`; `None` is no limit.
    pub requests_per_minute: Option<u32>,
    /// The limits of tokens, cost and concurrency.
    pub limits: Limits,
    /// `expires`.
    pub expires: Option<Timestamp>,
    /// `credentials` and `project`.
    pub own: Option<OwnCredentials>,
    /// `code_assist_protocol`; `None` is what the setting says.
    pub code_assist_protocol: Option<AllowedProtocol>,
    /// `admin`.
    pub admin: bool,
}

impl KeySettings {
    /// Whether the key may use a model, by the name that upstream knows.
    pub fn allows_model(&self, model: &str) -> bool {
        self.models.is_empty() || self.models.iter().any(|pattern| pattern.matches(model))
    }
}

/// The holder's own login.
#[derive(Debug, Clone)]
pub struct OwnCredentials {
    /// `credentials`: the path of an `oauth_creds.json`, or its JSON.
    pub credentials: SecretString,
    /// `project`.
    pub project: Option<String>,
}

/// One `[[price]]` table.
#[derive(Debug, Clone)]
pub struct PriceSettings {
    /// `model`, where `*` stands for any text.
    pub model: ModelPattern,
    /// `input`, `cached` (by default as `input`) and `output`.
    pub price: Price,
}

/// The price of a model. `None` where no table matches.
pub fn price_of<'a>(prices: &'a [PriceSettings], model: &str) -> Option<&'a Price> {
    prices.iter().find(|row| row.model.matches(model)).map(|row| &row.price)
}
