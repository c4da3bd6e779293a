//! The macro that declares messages, one line per field, and what it stands on.
//!
//! ```text
//! messages! {
//!     /// Brokers, topics and leaders.
//!     MetadataRequest "0-13", flexible "9+" {
//!         topics: Option<Vec<MetadataRequestTopic>>, "0+", null "1+";
//!         allow_auto_topic_creation: bool = true, "4+";
//!     }
//!     MetadataRequestTopic {
//!         topic_id: Uuid, "10+", ignorable;
//!         @0 something_tagged: i32 = -1, "12+";
//!     }
//! }
//! ```
//!
//! Versions are written as in Kafka's schemas: `"3"`, `"1-4"`, `"2+"`. A field has a name, a type, a default where it is
//! not the type's own (`Some` of the empty value for what may be null, as in Kafka), the versions that carry it, and then
//! `null VERSIONS` (the versions in which null may be sent) and `ignorable` (a value that the version cannot carry is
//! dropped rather than refused). Tagged fields come last, with `@` and their number. A declaration without versions of its
//! own is a part of other messages.
//!
//! Each becomes a struct with Kafka's defaults, `decode`, `encode`, and a [`Shape`] that tests compare with Kafka's schemas.

use bytes::Bytes;

use super::codec::{Reader, WireError, Writer};
use crate::types::Uuid;

/// A range of versions; empty when `min > max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub min: i16,
    pub max: i16,
}

impl Versions {
    pub const NONE: Versions = Versions { min: 0, max: -1 };

    /// `"3"`, `"1-4"`, `"2+"` or `"none"`; anything else does not compile where this is a constant.
    pub const fn parse(text: &str) -> Versions {
        let text = text.as_bytes();
        if matches!(text, b"none") {
            return Versions::NONE;
        }
        let (min, at) = number(text, 0);
        if at == text.len() {
            return Versions { min, max: min };
        }
        match text[at] {
            b'+' => {
                assert!(at + 1 == text.len());
                Versions { min, max: i16::MAX }
            }
            b'-' => {
                let (max, end) = number(text, at + 1);
                assert!(end == text.len());
                Versions { min, max }
            }
            _ => panic!("versions are written 3, 1-4, 2+ or none"),
        }
    }

    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

const fn number(text: &[u8], mut at: usize) -> (i16, usize) {
    let start = at;
    let mut value = 0;
    while at < text.len() && text[at].is_ascii_digit() {
        value = value * 10 + (text[at] - b'0') as i16;
        at += 1;
    }
    assert!(at > start);
    (value, at)
}

/// The version that is being read or written.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    pub number: i16,
    /// Compact lengths, and tagged fields behind every structure (KIP-482).
    pub flexible: bool,
}

/// What a field looks like on the wire.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    Uuid,
    String,
    /// `bytes` and `records` of Kafka's schemas, which are the same on the wire.
    Bytes,
    Array(&'static Shape),
    /// May be null in the versions that [`Field::null`] names.
    Nullable(&'static Shape),
    Struct(&'static Struct),
}

/// A declared structure, for tests and formatters.
#[derive(Clone, Copy, Debug)]
pub struct Struct {
    pub name: &'static str,
    /// Those without a tag in their order on the wire, then the tagged ones in the order of their tags.
    pub fields: &'static [Field],
}

/// A declared field.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    pub shape: Shape,
    pub versions: Versions,
    pub null: Versions,
    pub ignorable: bool,
    pub tag: Option<u32>,
    /// The default as it is written in the declaration; empty for the type's own.
    pub default: &'static str,
}

impl Field {
    pub const fn new(name: &'static str, shape: Shape, versions: &str, default: &'static str) -> Field {
        Field {
            name,
            shape,
            versions: Versions::parse(versions),
            null: Versions::NONE,
            ignorable: false,
            tag: None,
            default,
        }
    }

    pub const fn null(mut self, versions: &str) -> Field {
        self.null = Versions::parse(versions);
        self
    }

    pub const fn ignorable(mut self) -> Field {
        self.ignorable = true;
        self
    }

    pub const fn tagged(mut self, tag: u32) -> Field {
        self.tag = Some(tag);
        self
    }

    pub(super) const fn carried(&self, version: Version) -> bool {
        self.versions.contains(version.number)
    }

    pub(super) const fn may_be_null(&self, version: Version) -> bool {
        self.null.contains(version.number)
    }
}

/// A type that a field can have.
pub trait Wire: Sized {
    const SHAPE: Shape;
    /// No value takes fewer bytes, in any version: what bounds the counts of arrays.
    const BYTES_MIN: usize;

    /// Kafka's default where a declaration names none.
    fn initial() -> Self;
    /// `null`: whether null may be read here in this version.
    fn read(r: &mut Reader<'_>, version: Version, null: bool) -> Result<Self, WireError>;
    fn write(&self, w: &mut Writer, version: Version, null: bool) -> Result<(), WireError>;
}

/// A type that can be null; `None` stands for it.
pub trait Nullable: Wire {
    fn read_nullable(r: &mut Reader<'_>, version: Version) -> Result<Option<Self>, WireError>;
    fn write_null(w: &mut Writer, version: Version) -> Result<(), WireError>;
    /// What [`Nullable::read_nullable`] reads back.
    fn write_value(&self, w: &mut Writer, version: Version) -> Result<(), WireError> {
        self.write(w, version, false)
    }
}

macro_rules! primitives {
    ($($ty:ty, $shape:ident, $bytes:literal, $method:ident, $initial:expr;)*) => {$(
        impl Wire for $ty {
            const SHAPE: Shape = Shape::$shape;
            const BYTES_MIN: usize = $bytes;

            fn initial() -> Self {
                $initial
            }

            fn read(r: &mut Reader<'_>, _: Version, _: bool) -> Result<Self, WireError> {
                r.$method()
            }

            fn write(&self, w: &mut Writer, _: Version, _: bool) -> Result<(), WireError> {
                w.$method(*self);
                Ok(())
            }
        }
    )*};
}

primitives! {
    bool, Bool, 1, bool, false;
    i8, Int8, 1, i8, 0;
    i16, Int16, 2, i16, 0;
    u16, Uint16, 2, u16, 0;
    i32, Int32, 4, i32, 0;
    u32, Uint32, 4, u32, 0;
    i64, Int64, 8, i64, 0;
    f64, Float64, 8, f64, 0.0;
    Uuid, Uuid, 16, uuid, Uuid::ZERO;
}

impl Wire for String {
    const SHAPE: Shape = Shape::String;
    const BYTES_MIN: usize = 1;

    fn initial() -> Self {
        String::new()
    }

    fn read(r: &mut Reader<'_>, version: Version, _: bool) -> Result<Self, WireError> {
        let at = r.at();
        Self::read_nullable(r, version)?.ok_or(WireError::UnexpectedNull { at })
    }

    fn write(&self, w: &mut Writer, version: Version, _: bool) -> Result<(), WireError> {
        w.str(Some(self), version.flexible)
    }
}

impl Nullable for String {
    fn read_nullable(r: &mut Reader<'_>, version: Version) -> Result<Option<Self>, WireError> {
        Ok(r.str(version.flexible)?.map(|text| text.into_owned()))
    }

    fn write_null(w: &mut Writer, version: Version) -> Result<(), WireError> {
        w.str(None, version.flexible)
    }
}

impl Wire for Bytes {
    const SHAPE: Shape = Shape::Bytes;
    const BYTES_MIN: usize = 1;

    fn initial() -> Self {
        Bytes::new()
    }

    fn read(r: &mut Reader<'_>, version: Version, _: bool) -> Result<Self, WireError> {
        let at = r.at();
        Self::read_nullable(r, version)?.ok_or(WireError::UnexpectedNull { at })
    }

    fn write(&self, w: &mut Writer, version: Version, _: bool) -> Result<(), WireError> {
        w.bytes(Some(self), version.flexible)
    }
}

impl Nullable for Bytes {
    fn read_nullable(r: &mut Reader<'_>, version: Version) -> Result<Option<Self>, WireError> {
        r.bytes(version.flexible)
    }

    fn write_null(w: &mut Writer, version: Version) -> Result<(), WireError> {
        w.bytes(None, version.flexible)
    }
}

/// Elements are small on the wire and larger in memory, so that room for a whole announced array is not reserved at once
/// but grows with what was really read.
const RESERVE_BYTES_MAX: usize = 16 * 1024;

impl<T: Wire> Wire for Vec<T> {
    const SHAPE: Shape = Shape::Array(&T::SHAPE);
    const BYTES_MIN: usize = 1;

    fn initial() -> Self {
        Vec::new()
    }

    fn read(r: &mut Reader<'_>, version: Version, _: bool) -> Result<Self, WireError> {
        let at = r.at();
        Self::read_nullable(r, version)?.ok_or(WireError::UnexpectedNull { at })
    }

    fn write(&self, w: &mut Writer, version: Version, _: bool) -> Result<(), WireError> {
        w.count(Some(self.len()), version.flexible)?;
        self.iter().try_for_each(|element| element.write(w, version, false))
    }
}

impl<T: Wire> Nullable for Vec<T> {
    fn read_nullable(r: &mut Reader<'_>, version: Version) -> Result<Option<Self>, WireError> {
        let Some(count) = r.count(version.flexible, T::BYTES_MIN)? else {
            return Ok(None);
        };
        let mut elements = Vec::with_capacity(count.min(RESERVE_BYTES_MAX / size_of::<T>().max(1)));
        for _ in 0..count {
            elements.push(T::read(r, version, false)?);
        }
        Ok(Some(elements))
    }

    fn write_null(w: &mut Writer, version: Version) -> Result<(), WireError> {
        w.count(None, version.flexible)
    }
}

impl<T: Nullable> Wire for Option<T> {
    const SHAPE: Shape = Shape::Nullable(&T::SHAPE);
    const BYTES_MIN: usize = 1;

    fn initial() -> Self {
        Some(T::initial())
    }

    fn read(r: &mut Reader<'_>, version: Version, null: bool) -> Result<Self, WireError> {
        if null {
            T::read_nullable(r, version)
        } else {
            T::read(r, version, false).map(Some)
        }
    }

    fn write(&self, w: &mut Writer, version: Version, null: bool) -> Result<(), WireError> {
        match self {
            Some(value) if null => value.write_value(w, version),
            Some(value) => value.write(w, version, false),
            None if null => T::write_null(w, version),
            None => Err(WireError::NullNotInVersion {
                version: version.number,
            }),
        }
    }
}

/// A message with versions of its own: a request, a response, or a record's key or value.
pub trait Message: Wire + Default {
    const NAME: &'static str;
    const VERSIONS: Versions;
    const FLEXIBLE: Versions;
    const STRUCT: &'static Struct;

    /// The version by its number, if the message has it.
    fn version(number: i16) -> Result<Version, WireError> {
        if !Self::VERSIONS.contains(number) {
            return Err(WireError::UnsupportedVersion {
                message: Self::NAME,
                version: number,
            });
        }
        Ok(Version {
            number,
            flexible: Self::FLEXIBLE.contains(number),
        })
    }

    /// Reads the message; what follows it is left in the reader.
    fn decode(r: &mut Reader<'_>, version: i16) -> Result<Self, WireError> {
        Self::read(r, Self::version(version)?, false)
    }

    fn encode(&self, w: &mut Writer, version: i16) -> Result<(), WireError> {
        self.write(w, Self::version(version)?, false)
    }
}

/// See the module's documentation.
macro_rules! messages {
    ($($(#[$meta:meta])* $name:ident $($versions:literal, flexible $flexible:literal)? { $($body:tt)* })*) => {$(
        $crate::wire::declare::structure! { $(#[$meta])* $name { $($body)* } }

        $(impl $crate::wire::declare::Message for $name {
            const NAME: &'static str = stringify!($name);
            const VERSIONS: $crate::wire::declare::Versions = $crate::wire::declare::Versions::parse($versions);
            const FLEXIBLE: $crate::wire::declare::Versions = $crate::wire::declare::Versions::parse($flexible);
            const STRUCT: &'static $crate::wire::declare::Struct = &$name::STRUCT;
        })?
    )*};
}

// `#[inline]` because nothing uses all of them: what is not inline is compiled whether or not somebody calls it.
macro_rules! structure {
    ($(#[$meta:meta])* $name:ident {
        $($field:ident : $ty:ty $(= $default:expr)?, $in:literal $(, $attribute:ident $($value:literal)?)*;)*
        $(@ $tag:literal $tagged:ident : $tagged_ty:ty $(= $tagged_default:expr)?, $tagged_in:literal
            $(, $tagged_attribute:ident $($tagged_value:literal)?)*;)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $(pub $field: $ty,)*
            $(pub $tagged: $tagged_ty,)*
        }

        // Each field's declaration is a constant of the field's own name.
        #[allow(non_upper_case_globals)]
        impl $name {
            $(const $field: $crate::wire::declare::Field = $crate::wire::declare::Field::new(
                stringify!($field),
                <$ty as $crate::wire::declare::Wire>::SHAPE,
                $in,
                stringify!($($default)?),
            )$(.$attribute($($value)?))*;)*
            $(const $tagged: $crate::wire::declare::Field = $crate::wire::declare::Field::new(
                stringify!($tagged),
                <$tagged_ty as $crate::wire::declare::Wire>::SHAPE,
                $tagged_in,
                stringify!($($tagged_default)?),
            )$(.$tagged_attribute($($tagged_value)?))*.tagged($tag);)*

            pub const STRUCT: $crate::wire::declare::Struct = $crate::wire::declare::Struct {
                name: stringify!($name),
                fields: &[$(Self::$field,)* $(Self::$tagged,)*],
            };
        }

        impl Default for $name {
            #[inline]
            fn default() -> Self {
                $name {
                    $($field: $crate::wire::declare::default_or_initial!($ty $(, $default)?),)*
                    $($tagged: $crate::wire::declare::default_or_initial!($tagged_ty $(, $tagged_default)?),)*
                }
            }
        }

        impl $crate::wire::declare::Wire for $name {
            const SHAPE: $crate::wire::declare::Shape = $crate::wire::declare::Shape::Struct(&Self::STRUCT);
            const BYTES_MIN: usize = 1;

            #[inline]

            fn initial() -> Self {
                Self::default()
            }

            #[inline]

            fn read(
                r: &mut $crate::wire::codec::Reader<'_>,
                version: $crate::wire::declare::Version,
                _: bool,
            ) -> Result<Self, $crate::wire::codec::WireError> {
                #[allow(unused_mut)]
                let mut value = $name {
                    $($field: $crate::wire::declare::read_field(
                        r,
                        version,
                        &Self::$field,
                        $crate::wire::declare::default_or_initial!($ty $(, $default)?),
                    )?,)*
                    $($tagged: $crate::wire::declare::default_or_initial!($tagged_ty $(, $tagged_default)?),)*
                };
                if version.flexible {
                    #[allow(unused_variables)]
                    r.tagged_fields(|tag, r| match tag {
                        $($tag => $crate::wire::declare::read_tagged(r, version, &Self::$tagged, &mut value.$tagged),)*
                        _ => Ok(false),
                    })?;
                }
                Ok(value)
            }

            #[inline]

            fn write(
                &self,
                w: &mut $crate::wire::codec::Writer,
                version: $crate::wire::declare::Version,
                _: bool,
            ) -> Result<(), $crate::wire::codec::WireError> {
                $($crate::wire::declare::write_field(
                    w,
                    version,
                    (&Self::STRUCT, &Self::$field),
                    &self.$field,
                    $crate::wire::declare::default_or_initial!($ty $(, $default)?),
                )?;)*
                #[allow(unused_mut)]
                let mut tags = $crate::wire::declare::Tags::default();
                $(tags.add(
                    version,
                    (&Self::STRUCT, &Self::$tagged),
                    &self.$tagged,
                    $crate::wire::declare::default_or_initial!($tagged_ty $(, $tagged_default)?),
                )?;)*
                if version.flexible {
                    tags.finish(w);
                }
                Ok(())
            }
        }

        impl $crate::wire::declare::Nullable for $name {
            #[inline]
            fn read_nullable(
                r: &mut $crate::wire::codec::Reader<'_>,
                version: $crate::wire::declare::Version,
            ) -> Result<Option<Self>, $crate::wire::codec::WireError> {
                if r.i8()? < 0 { Ok(None) } else { $crate::wire::declare::Wire::read(r, version, false).map(Some) }
            }

            #[inline]

            fn write_null(
                w: &mut $crate::wire::codec::Writer,
                _: $crate::wire::declare::Version,
            ) -> Result<(), $crate::wire::codec::WireError> {
                w.i8(-1);
                Ok(())
            }

            #[inline]

            fn write_value(
                &self,
                w: &mut $crate::wire::codec::Writer,
                version: $crate::wire::declare::Version,
            ) -> Result<(), $crate::wire::codec::WireError> {
                w.i8(1);
                $crate::wire::declare::Wire::write(self, w, version, false)
            }
        }
    };
}

macro_rules! default_or_initial {
    ($ty:ty) => {
        <$ty as $crate::wire::declare::Wire>::initial()
    };
    ($ty:ty, $default:expr) => {
        $default
    };
}

// What the macro calls for each field: functions, because what it repeats is compiled some thousand times.

#[inline]
pub(super) fn read_field<T: Wire>(
    r: &mut Reader<'_>,
    version: Version,
    field: &'static Field,
    default: T,
) -> Result<T, WireError> {
    if field.carried(version) {
        T::read(r, version, field.may_be_null(version))
    } else {
        Ok(default)
    }
}

pub(super) fn read_tagged<T: Wire>(
    r: &mut Reader<'_>,
    version: Version,
    field: &'static Field,
    value: &mut T,
) -> Result<bool, WireError> {
    if field.carried(version) {
        *value = T::read(r, version, field.may_be_null(version))?;
    }
    Ok(field.carried(version))
}

#[inline]
pub(super) fn write_field<T: Wire + PartialEq>(
    w: &mut Writer,
    version: Version,
    (structure, field): (&'static Struct, &'static Field),
    value: &T,
    default: T,
) -> Result<(), WireError> {
    if field.carried(version) {
        value.write(w, version, field.may_be_null(version))
    } else if field.ignorable || *value == default {
        Ok(())
    } else {
        Err(not_in_version(structure, field, version))
    }
}

fn not_in_version(structure: &Struct, field: &Field, version: Version) -> WireError {
    WireError::FieldNotInVersion {
        message: structure.name,
        field: field.name,
        version: version.number,
    }
}

/// The tagged fields of one structure that have something to say.
#[derive(Default)]
pub(super) struct Tags {
    count: u32,
    fields: Writer,
}

impl Tags {
    pub(super) fn add<T: Wire + PartialEq>(
        &mut self,
        version: Version,
        (structure, field): (&'static Struct, &'static Field),
        value: &T,
        default: T,
    ) -> Result<(), WireError> {
        if *value == default {
            return Ok(());
        }
        match field.tag {
            Some(tag) if field.carried(version) && version.flexible => {
                self.count += 1;
                self.fields
                    .tagged_field(tag, |w| value.write(w, version, field.may_be_null(version)))
            }
            _ if field.ignorable => Ok(()),
            _ => Err(not_in_version(structure, field, version)),
        }
    }

    pub(super) fn finish(self, w: &mut Writer) {
        w.uvarint(self.count);
        w.raw(&self.fields.into_inner());
    }
}

pub(super) use {default_or_initial, messages, structure};
