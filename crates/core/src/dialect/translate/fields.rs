//! Reading of upstream's and clients' objects, tolerantly: a field in either spelling that protobuf's JSON
//! has, `null` for an absent value, fields that are not known here. Of a field that comes twice the last one
//! counts.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A string that is borrowed where it has no escapes. (Serde borrows a `Cow`, and no `Option` of one.)
pub(in crate::dialect) struct Word<'a>(Cow<'a, str>);

impl<'a> From<Word<'a>> for Cow<'a, str> {
    fn from(word: Word<'a>) -> Self {
        word.0
    }
}

impl AsRef<str> for Word<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Word<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = Word<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Word(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Word(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Words)
    }
}

/// Implements `Deserialize` for a struct of optional fields with a lifetime: each field with its names in
/// JSON and the type that it is read as. A field may be one of a struct within. `rest unknown` puts the
/// names of other fields whose value is not `null` into the struct's field `unknown`.
macro_rules! read_fields {
    ($object:ident { $($($name:literal)|+ => $field:ident$(.$inner:ident)?: $read:ty),+ $(,)? } $(rest $unknown:ident)?) => {
        impl<'de> serde::Deserialize<'de> for $object<'de> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields;
                impl<'de> serde::de::Visitor<'de> for Fields {
                    type Value = $object<'de>;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        mut fields: A,
                    ) -> Result<Self::Value, A::Error> {
                        let mut object = $object::default();
                        while let Some(name) =
                            fields.next_key::<$crate::dialect::translate::fields::Word<'de>>()?
                        {
                            match name.as_ref() {
                                $($($name)|+ => {
                                    object.$field$(.$inner)? =
                                        fields.next_value::<Option<$read>>()?.map(Into::into);
                                })+
                                _ => {
                                    let _value =
                                        fields.next_value::<Option<serde::de::IgnoredAny>>()?;
                                    $(if _value.is_some() {
                                        object.$unknown.push(name.as_ref().to_owned());
                                    })?
                                }
                            }
                        }
                        Ok(object)
                    }
                }
                deserializer.deserialize_map(Fields)
            }
        }
    };
}
pub(in crate::dialect) use read_fields;
