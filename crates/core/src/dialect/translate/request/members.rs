//! JSON objects, member by member.

use bytes::{BufMut, BytesMut};

/// Writes the members of an object.
#[derive(Debug)]
pub(super) struct Members<'o> {
    out: &'o mut BytesMut,
    is_empty: bool,
}

impl<'o> Members<'o> {
    /// Begins an object.
    pub(super) fn begin(out: &'o mut BytesMut) -> Self {
        out.put_u8(b'{');
        Self { out, is_empty: true }
    }

    /// Writes a key. The caller writes the value.
    pub(super) fn key(&mut self, key: &'static str) -> &mut BytesMut {
        self.out.put_slice(if self.is_empty { b"\"" } else { b",\"" });
        self.is_empty = false;
        self.out.put_slice(key.as_bytes());
        self.out.put_slice(b"\":");
        self.out
    }

    /// Writes a member whose value is JSON already.
    pub(super) fn written(&mut self, key: &'static str, json: &str) {
        self.key(key).put_slice(json.as_bytes());
    }

    /// Writes a member whose value is an object, unless the object has no members.
    pub(super) fn object(&mut self, key: &'static str, write: impl FnOnce(&mut Members<'_>)) {
        let (length, was_empty) = (self.out.len(), self.is_empty);
        let mut inner = Members::begin(self.key(key));
        write(&mut inner);
        if inner.is_empty {
            self.out.truncate(length);
            self.is_empty = was_empty;
        } else {
            inner.end();
        }
    }

    /// Ends the object.
    pub(super) fn end(self) {
        self.out.put_u8(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_without_members_is_left_out() {
        let mut out = BytesMut::new();
        let mut members = Members::begin(&mut out);
        members.object("a", |_| {});
        members.written("b", "1");
        members.object("c", |inner| inner.object("d", |_| {}));
        members.object("e", |inner| inner.written("f", "[]"));
        members.end();
        assert_eq!(out, r#"{"b":1,"e":{"f":[]}}"#);
    }
}
