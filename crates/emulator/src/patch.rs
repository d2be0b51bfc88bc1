//! A change of some fields of a group of settings.

use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// The fields of `T` that a control request gives. An unknown field or a wrong type is refused when
/// the request is read.
#[derive(Debug)]
pub(crate) struct Patch<T> {
    fields: Map<String, Value>,
    of: PhantomData<T>,
}

impl<T: Serialize + DeserializeOwned> Patch<T> {
    pub(crate) fn apply(self, settings: &mut T) {
        if let Ok(changed) = merged(settings, &self.fields) {
            *settings = changed;
        }
    }
}

impl<'de, T: Default + Serialize + DeserializeOwned> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Map::deserialize(deserializer)?;
        // Whether a value fits its field does not depend on the other fields.
        merged(&T::default(), &fields).map_err(D::Error::custom)?;
        Ok(Self { fields, of: PhantomData })
    }
}

fn merged<T: Serialize + DeserializeOwned>(
    settings: &T,
    fields: &Map<String, Value>,
) -> Result<T, serde_json::Error> {
    let mut value = serde_json::to_value(settings)?;
    if let Value::Object(members) = &mut value {
        members.extend(fields.clone());
    }
    serde_json::from_value(value)
}
