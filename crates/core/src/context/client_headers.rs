//! The headers that every request is asked for, and few clients send.

use http::{HeaderMap, HeaderValue};

/// They are found in one pass: a search for a header that is missing costs as much as passing all that are there.
#[derive(Debug, Default)]
pub(super) struct ClientHeaders<'a> {
    pub(super) request_id: Option<&'a HeaderValue>,
    pub(super) server_timeout: Option<&'a HeaderValue>,
    /// `None` if there are several: they are not valid.
    pub(super) traceparent: Option<&'a HeaderValue>,
}

impl<'a> ClientHeaders<'a> {
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let mut found = Self::default();
        let mut traces = 0;
        for (name, value) in headers {
            match name.as_str() {
                "x-request-id" => found.request_id = found.request_id.or(Some(value)),
                "x-server-timeout" => found.server_timeout = found.server_timeout.or(Some(value)),
                "traceparent" => {
                    traces += 1;
                    found.traceparent = Some(value).filter(|_| traces == 1);
                }
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn the_first_of_several_counts_and_several_traces_are_none() {
        let of = |fields: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                let name = HeaderName::from_static(name);
                headers.append(name, HeaderValue::from_static(value));
            }
            let found = ClientHeaders::of(&headers);
            [found.request_id, found.server_timeout, found.traceparent].map(|it| it.cloned())
        };
        let value = |text| Some(HeaderValue::from_static(text));
        let sent = [("accept", "a"), ("traceparent", "t"), ("x-request-id", "r")];
        assert_eq!(of(&sent), [value("r"), None, value("t")]);
        let twice = [
            ("x-request-id", "1"),
            ("x-request-id", "2"),
            ("x-server-timeout", "3"),
            ("x-server-timeout", "4"),
            ("traceparent", "5"),
            ("traceparent", "6"),
            ("traceparent", "7"),
        ];
        assert_eq!(of(&twice), [value("1"), value("3"), None]);
    }
}
