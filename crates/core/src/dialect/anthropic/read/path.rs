//! Paths of fields such as `messages.0.content.2`, and the reading of values that may be of a wrong kind.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::dialect::translate::text::JsonText;
use crate::error::{Error, Refusal, RefusalCode};

/// The path of a field in the client's request. It is written only for an error or for the list of what
/// is left out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path<'p> {
    parent: Option<&'p Self>,
    step: Step<'p>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'p> {
    Field(&'p str),
    Item(usize),
}

impl<'p> Path<'p> {
    /// The path of a field of the request.
    pub(super) const fn root(name: &'p str) -> Self {
        Self { parent: None, step: Step::Field(name) }
    }

    /// The path of a field of this object.
    pub(super) const fn field(&'p self, name: &'p str) -> Self {
        Self { parent: Some(self), step: Step::Field(name) }
    }

    /// The path of an item of this array.
    pub(super) const fn item(&'p self, at: usize) -> Self {
        Self { parent: Some(self), step: Step::Item(at) }
    }

    /// The error of a value that has no form in a Gemini request.
    pub(super) fn unsupported(&self, message: impl Into<String>) -> Error {
        Refusal::error(RefusalCode::UnsupportedValue, self.to_string(), message)
    }

    /// The error of a value that the API does not take.
    pub(super) fn invalid(&self, message: impl Into<String>) -> Error {
        Refusal::error(RefusalCode::InvalidValue, self.to_string(), message)
    }

    /// The error of a field that is not there. These are the words of Anthropic's API.
    pub(super) fn required(&self) -> Error {
        self.invalid("Field required")
    }

    /// Reads a string.
    pub(super) fn text<'a>(&self, value: &'a RawValue) -> Result<JsonText<'a>, Error> {
        JsonText::of(value).ok_or_else(|| self.invalid("This must be a string."))
    }

    /// Reads a string that must be there.
    pub(super) fn required_text<'a>(
        &self,
        value: Option<&'a RawValue>,
    ) -> Result<JsonText<'a>, Error> {
        self.text(value.ok_or_else(|| self.required())?)
    }

    /// Reads an object.
    pub(super) fn object<'a, T: Deserialize<'a>>(&self, value: &'a RawValue) -> Result<T, Error> {
        if !value.get().starts_with('{') {
            return Err(self.invalid("This must be an object."));
        }
        // Every field takes any value: a repeated field is all that can be wrong.
        serde_json::from_str(value.get()).map_err(|error| self.invalid(error.to_string()))
    }

    /// Reads an array of objects.
    pub(super) fn objects<'a, T: Deserialize<'a>>(
        &self,
        value: &'a RawValue,
    ) -> Result<Vec<T>, Error> {
        serde_json::from_str(value.get()).map_err(|error| self.wrong_item(value, &error))
    }

    /// Finds the item of an array that is not an object, or whose fields are not those of one.
    #[cold]
    fn wrong_item(&self, value: &RawValue, error: &serde_json::Error) -> Error {
        let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(value.get()) else {
            return self.invalid("This must be an array.");
        };
        match items.iter().position(|item| !item.get().starts_with('{')) {
            Some(at) => self.item(at).invalid("This must be an object."),
            None => self.invalid(error.to_string()),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            write!(f, "{parent}.")?;
        }
        match self.step {
            Step::Field(name) => f.write_str(name),
            Step::Item(at) => write!(f, "{at}"),
        }
    }
}
