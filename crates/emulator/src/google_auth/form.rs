//! A form of a token request, with every field given once.

use std::borrow::Cow;

use crate::request::ApiRequest;

/// The fields of a form, in their order. It has none if the body is no form.
#[derive(Debug)]
pub(crate) struct Form<'a> {
    fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    is_form: bool,
}

impl Form<'_> {
    /// A field; an empty one counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_ref())
    }

    pub(crate) fn has(&self, name: &str, value: &str) -> bool {
        self.get(name) == Some(value)
    }

    /// Refuses a field that is missing, unknown or given twice.
    pub(crate) fn check(&self, wanted: &[&str]) -> Result<(), String> {
        self.check_with(wanted, &[])
    }

    /// The same with fields that may be missing.
    pub(crate) fn check_with(&self, wanted: &[&str], optional: &[&str]) -> Result<(), String> {
        if !self.is_form {
            return Err("The body must be application/x-www-form-urlencoded.".to_owned());
        }
        if let Some(missing) = wanted.iter().find(|name| self.get(name).is_none()) {
            return Err(format!("Missing required parameter: {missing}"));
        }
        for (at, (name, _)) in self.fields.iter().enumerate() {
            if !wanted.contains(&name.as_ref()) && !optional.contains(&name.as_ref()) {
                return Err(format!("Parameter not allowed for this message type: {name}"));
            }
            if self.fields[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(format!("Parameter given twice: {name}"));
            }
        }
        Ok(())
    }
}

impl ApiRequest<'_> {
    pub(crate) fn form(&self) -> Form<'_> {
        let is_form = self.has_form();
        let body = if is_form { self.body } else { &[] };
        Form { fields: form_urlencoded::parse(body).collect(), is_form }
    }
}
