//! The fields of an encoded message, one after the other, without decoding what is in them.

/// What is in a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// A number, a boolean or a constant of an enumeration.
    Number(u64),
    /// A text, bytes, a message or a packed list.
    Bytes(&'a [u8]),
    /// A number of four or eight bytes, or the end of a group.
    Other,
}

/// Walks over the fields of an encoded message, to its end or to the first that is malformed. O(1) for each, no allocation.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Begins with the first field.
    #[must_use]
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// What has not been read yet. At the end it is empty unless the message is malformed.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u32, Field<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = self.rest;
        let field = next_field(&mut rest)?;
        self.rest = rest;
        Some(field)
    }
}

#[inline]
fn next_field<'a>(bytes: &mut &'a [u8]) -> Option<(u32, Field<'a>)> {
    let key = varint(bytes)?;
    let number = u32::try_from(key >> 3).ok()?;
    let field = match key & 7 {
        0 => Field::Number(varint(bytes)?),
        1 => split(bytes, 8).map(|_| Field::Other)?,
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            Field::Bytes(split(bytes, length)?)
        }
        // The ends of a group, whose fields come as if they were here.
        3 | 4 => Field::Other,
        5 => split(bytes, 4).map(|_| Field::Other)?,
        _ => return None,
    };
    Some((number, field))
}

/// Numbers of one or two bytes are most of all that there are.
#[inline]
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let (value, rest) = match **bytes {
        [a @ ..0x80, ref rest @ ..] => (u64::from(a), rest),
        [a, b @ ..0x80, ref rest @ ..] => (u64::from(a & 0x7f) | u64::from(b) << 7, rest),
        _ => return long_varint(bytes),
    };
    *bytes = rest;
    Some(value)
}

#[cold]
fn long_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[inline]
fn split<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (part, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(part)
}
