//! The reading of `[[key]]` and `[[price]]` tables.

use std::collections::HashMap;
use std::sync::Arc;

use secrecy::ExposeSecret;
use serde_json::{Map, Value};

use super::fields::{KEY_FIELDS, PRICE_FIELDS, PROXY_KEYS_JSON};
use super::table::RawTable;
use super::{KeySettings, KeyTables, OwnCredentials, PriceSettings};
use crate::caller::KeyDigest;
use crate::policy::budget::{Cost, Limits, Price};
use crate::settings::read::SettingsReader;
use crate::settings::upstreams::{ModelPattern, parse as upstreams};
use crate::settings::{
    AccountSettings, AllowedProtocol, Machine, Settings, Source, combinations, parse,
};

/// What the tables say.
#[derive(Default)]
pub(in crate::settings) struct ReadKeys {
    pub(in crate::settings) keys: Vec<KeySettings>,
    pub(in crate::settings) prices: Vec<PriceSettings>,
    /// There are tables, of which some may have problems.
    pub(in crate::settings) has_tables: bool,
}

/// What the keys of tables are checked against.
struct Surroundings<'a> {
    settings: &'a Settings,
    machine: &'a Machine<'a>,
    /// No upstream has a problem, so that a name that is not among them is unknown.
    has_sound_upstreams: bool,
    /// Where each digest is set.
    places: HashMap<KeyDigest, String>,
    prices: Vec<PriceSettings>,
}

impl SettingsReader<'_> {
    /// Reads the tables of the file, or those of `PROXY_KEYS_JSON`.
    pub(in crate::settings) fn key_tables(
        &mut self,
        settings: &Settings,
        machine: &Machine<'_>,
        has_sound_upstreams: bool,
    ) -> ReadKeys {
        let problems = self.problems.len();
        let json = self.text(PROXY_KEYS_JSON.name, |text| {
            KeyTables::from_json(text).map_err(|wrong| wrong.to_string().into())
        });
        let (tables, place) = match &json {
            Some(json) => (json, PROXY_KEYS_JSON.name),
            None => (machine.key_tables, self.origin(Source::File)),
        };
        if json.is_some() && !machine.key_tables.are_none() {
            let text = format!(
                "is set, and {} has [[key]] or [[price]] tables too; remove one of them",
                self.origin(Source::File)
            );
            self.complain(PROXY_KEYS_JSON.name, text);
        }
        let prices = self.prices(&tables.prices, place);
        let plain = (1..).zip(&settings.api_keys).map(|(number, key)| {
            let place = match &key.name {
                Some(name) => format!("{name} in PROXY_API_KEYS"),
                None => format!("entry {number} of PROXY_API_KEYS"),
            };
            (KeyDigest::of(key.key.expose_secret()), place)
        });
        let places = plain.collect();
        let mut around = Surroundings { settings, machine, has_sound_upstreams, places, prices };
        let mut keys: Vec<KeySettings> = Vec::new();
        for (value, number) in tables.keys.iter().zip(1..) {
            if let Some(table) = self.raw_key(value, number, place, &keys) {
                keys.extend(self.key(&table, &mut around));
            }
        }
        let has_tables = !tables.keys.is_empty() || self.problems.len() > problems;
        ReadKeys { keys, prices: around.prices, has_tables }
    }

    /// Whether a key has a login of its own.
    pub(in crate::settings) fn has_own_logins(&self, machine: &Machine<'_>) -> bool {
        let json = self.find(&PROXY_KEYS_JSON);
        let json = json.and_then(|found| KeyTables::from_json(&found.value).ok());
        let tables = json.as_ref().unwrap_or(machine.key_tables);
        tables.keys.iter().any(|table| table.get("credentials").is_some())
    }

    /// The table, with the words that stand for it in problems.
    fn raw_key<'a>(
        &mut self,
        value: &'a Value,
        number: usize,
        place: &str,
        before: &[KeySettings],
    ) -> Option<RawTable<'a>> {
        let unnamed = format!("[[key]] {number} in {place}");
        let values = self.table(value, &unnamed, "key")?;
        let id = values.get("id").and_then(Value::as_str).map(str::trim);
        let place = match id.filter(|id| upstreams::is_name(id)) {
            Some(id) if before.iter().any(|key| *key.id == *id) => {
                format!("key {id} ([[key]] {number}) in {place}")
            }
            Some(id) => format!("key {id} in {place}"),
            None => unnamed,
        };
        Some(RawTable { place, values, fields: KEY_FIELDS })
    }

    fn table<'a>(
        &mut self,
        value: &'a Value,
        place: &str,
        word: &str,
    ) -> Option<&'a Map<String, Value>> {
        let table = value.as_object();
        if table.is_none() {
            self.complain(place, format!("must be a table under the line [[{word}]]"));
        }
        table
    }

    fn key(&mut self, table: &RawTable<'_>, around: &mut Surroundings<'_>) -> Option<KeySettings> {
        table.check_keys(self);
        let id = table.parsed(self, "id", |id| match upstreams::is_name(id) {
            true => Ok(Arc::<str>::from(id)),
            false => Err("is no name".to_owned()),
        });
        if let Some(id) = &id
            && around.settings.api_keys.iter().any(|key| key.name.as_deref() == Some(&**id))
        {
            let text = "is also the name of a key in PROXY_API_KEYS; give one of them another name";
            self.complain(&table.label("id"), text);
        }
        let digest = self.digest(table, around);
        let models = table.patterns(self, "models");
        let requests = table.limit(self, "requests_per_minute");
        let cost = table.amount(self, "cost_per_month").filter(|cost| *cost > 0.0);
        if cost.is_some() {
            self.check_prices(table, &models, &around.prices);
        }
        let limits = Limits {
            tokens_per_minute: table.limit(self, "tokens_per_minute"),
            tokens_per_day: table.limit(self, "tokens_per_day"),
            tokens_per_month: table.limit(self, "tokens_per_month"),
            cost_per_month: cost.and_then(Cost::of_units),
            max_concurrent: table.limit(self, "max_concurrent"),
        };
        let own = self.own_credentials(table, around);
        let upstreams = self.upstreams_of_key(table, own.is_some(), around);
        let expires = table.time(self, "expires");
        let code_assist_protocol = table.parsed(self, "code_assist_protocol", |word| {
            AllowedProtocol::of_word(word).ok_or_else(|| "is none of them".to_owned())
        });
        let admin = table.switch(self, "admin").unwrap_or(false);
        Some(KeySettings {
            id: id?,
            digest: digest?,
            models,
            upstreams,
            requests_per_minute: requests.and_then(|it| u32::try_from(it).ok()),
            limits,
            expires,
            own,
            code_assist_protocol,
            admin,
        })
    }

    /// The digest of the key. The same key twice is a problem.
    fn digest(&mut self, table: &RawTable<'_>, around: &mut Surroundings<'_>) -> Option<KeyDigest> {
        let has = |key| table.values.contains_key(key);
        let (name, digest) = match (has("hash"), has("key")) {
            (true, true) => {
                self.complain(&table.place, "has both hash and key; remove key");
                return None;
            }
            (false, false) => {
                let text = "has neither hash nor key; `code-assist-proxy keys new ID` makes a key and \
                            its hash";
                self.complain(&table.place, text);
                return None;
            }
            (true, false) => ("hash", table.parsed(self, "hash", digest_of)?),
            (false, true) => {
                let key = table.parsed(self, "key", |key| {
                    let is_visible = key.bytes().all(|byte| byte.is_ascii_graphic());
                    if is_visible { Ok(key) } else { Err("is something else".to_owned()) }
                })?;
                self.check_key(table, key, around);
                ("key", KeyDigest::of(key))
            }
        };
        if let Some(other) = around.places.get(&digest) {
            let text = format!("is that of {other}; each table needs a key of its own");
            self.complain(&table.label(name), text);
        }
        around.places.entry(digest).or_insert_with(|| table.place.clone());
        Some(digest)
    }

    /// A key in the file is a secret there, and a short one can be guessed.
    fn check_key(&mut self, table: &RawTable<'_>, key: &str, around: &Surroundings<'_>) {
        let on_network = combinations::is_on_network(around.settings, around.machine);
        self.check_key_length(&table.label("key"), "it", key.len(), on_network);
        let text = "is the key itself; with `hash` the file needs no secret: `hash = \"sha256:…\"` with \
                    the digits that `printf %s KEY | sha256sum` prints";
        self.warn(&table.label("key"), text.to_owned());
    }

    fn check_prices(
        &mut self,
        table: &RawTable<'_>,
        models: &[ModelPattern],
        prices: &[PriceSettings],
    ) {
        let all = [ModelPattern::all()];
        let allowed = if models.is_empty() { &all[..] } else { models };
        let has_price =
            |pattern: &ModelPattern| prices.iter().any(|price| price.model.covers(pattern));
        let missing: Vec<String> =
            allowed.iter().filter(|pattern| !has_price(pattern)).map(ToString::to_string).collect();
        if !missing.is_empty() {
            let text = format!(
                "needs a price for every model that the key may use, and no [[price]] table covers {}; \
                 add one with such a `model`, or `model = \"*\"`",
                missing.join(", ")
            );
            self.complain(&table.label("cost_per_month"), text);
        }
    }

    fn own_credentials(
        &mut self,
        table: &RawTable<'_>,
        around: &Surroundings<'_>,
    ) -> Option<OwnCredentials> {
        let home = self.home.clone();
        let has_files = around.machine.has_path.is_some();
        let credentials = table.parsed(self, "credentials", |text| {
            if upstreams::is_json(text) {
                return Ok(text.to_owned());
            }
            let path = upstreams::credentials_path(text, home.as_deref());
            let path = path.map_err(|wrong| wrong.to_string())?;
            match has_files {
                true => Ok(path),
                false => {
                    Err("is a path, and a Worker has no files; it must be the JSON itself".into())
                }
            }
        });
        let project = table.parsed(self, "project", |text| {
            parse::project(text).map_err(|wrong| wrong.to_string())
        });
        if !table.values.contains_key("credentials") && project.is_some() {
            let text = "is that of credentials, and there are none; remove it, or add them";
            self.complain(&table.label("project"), text);
        }
        // An emulator has no account but its own.
        let credentials = credentials.filter(|_| around.machine.emulated.is_none())?;
        Some(OwnCredentials { credentials: credentials.into(), project })
    }

    fn upstreams_of_key(
        &mut self,
        table: &RawTable<'_>,
        has_own: bool,
        around: &Surroundings<'_>,
    ) -> Vec<Arc<str>> {
        let in_use = &around.settings.upstreams;
        let find = |name: &str| in_use.iter().find(|upstream| *upstream.name == *name);
        let label = table.label("upstreams");
        let names = table.list(self, "upstreams");
        let mut found: Vec<Arc<str>> = Vec::new();
        let mut unknown: Vec<&str> = Vec::new();
        for name in names.iter().copied() {
            match find(name) {
                Some(upstream) if found.contains(&upstream.name) => {
                    self.complain(&label, format!("names {name} twice"));
                }
                Some(upstream) => found.push(Arc::clone(&upstream.name)),
                None => unknown.push(name),
            }
        }
        // An emulator stands in for upstreams with other names.
        let is_checked = around.has_sound_upstreams && around.machine.emulated.is_none();
        if is_checked && !unknown.is_empty() {
            let used: Vec<&str> = in_use.iter().map(|upstream| &*upstream.name).collect();
            let text = format!(
                "names {}, and the upstreams in use are {} (UPSTREAMS)",
                unknown.join(", "),
                used.join(", ")
            );
            self.complain(&label, text);
        } else if is_checked && has_own && !found.is_empty() {
            let is_code_assist = |name: &Arc<str>| {
                find(name).is_some_and(|it| matches!(it.account, AccountSettings::CodeAssist(_)))
            };
            if !found.iter().any(is_code_assist) {
                let text = "names no upstream of the provider code-assist, so that credentials would \
                            never be used; add one, or remove either";
                self.complain(&label, text);
            }
        }
        found
    }

    fn prices(&mut self, tables: &[Value], place: &str) -> Vec<PriceSettings> {
        let mut prices: Vec<PriceSettings> = Vec::new();
        for (value, number) in tables.iter().zip(1..) {
            let place = format!("[[price]] {number} in {place}");
            let Some(values) = self.table(value, &place, "price") else { continue };
            let table = RawTable { place, values, fields: PRICE_FIELDS };
            prices.extend(self.price(&table, &prices));
        }
        prices
    }

    fn price(&mut self, table: &RawTable<'_>, before: &[PriceSettings]) -> Option<PriceSettings> {
        table.check_keys(self);
        let model = table.parsed(self, "model", |text| {
            ModelPattern::new(text).ok_or_else(|| "is no model name".to_owned())
        });
        let mut part = |key| table.amount(self, key).and_then(Cost::of_units);
        let (input, cached, output) = (part("input"), part("cached"), part("output"));
        let model = model?;
        if let Some(earlier) = before.iter().find(|price| price.model.covers(&model)) {
            let text = format!(
                "never counts, since {} in a table above it covers the same models; put it first",
                earlier.model
            );
            self.warn(&table.place, text);
        }
        let input = input?;
        let price = Price { input, cached: cached.unwrap_or(input), output: output? };
        Some(PriceSettings { model, price })
    }
}

fn digest_of(text: &str) -> Result<KeyDigest, String> {
    let digits = text.strip_prefix("sha256:").filter(|digits| digits.len() == 64);
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|it| u8::try_from(it).ok());
    let bytes: Option<Vec<u8>> = digits.and_then(|digits| {
        let pairs = digits.as_bytes().chunks_exact(2);
        pairs.map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
    });
    let digest = bytes.and_then(|bytes| bytes.try_into().ok());
    digest.map(KeyDigest).ok_or_else(|| "is no such digest".to_owned())
}
