//! Arrays of what is written as text: the server wants to be told of exactly which type their items are.

use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo, Postgres};
use sqlx::{Type, TypeInfo};

/// One dimension, without NULL.
pub(super) struct Texts {
    element: Oid,
    items: Vec<String>,
}

impl Texts {
    /// # Errors
    /// A type that the connection has not looked up.
    pub(super) fn new(element: &PgTypeInfo, items: Vec<String>) -> Result<Self, String> {
        let name = || format!("the type {} is unknown", element.name().to_lowercase());
        Ok(Self { element: element.oid().ok_or_else(name)?, items })
    }
}

impl Type<Postgres> for Texts {
    fn type_info() -> PgTypeInfo {
        <Vec<String> as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for Texts {
    /// As `array_recv` of the server reads it.
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let dimensions = i32::from(!self.items.is_empty());
        buffer.extend(dimensions.to_be_bytes());
        let has_null = 0_i32;
        buffer.extend(has_null.to_be_bytes());
        buffer.extend(self.element.0.to_be_bytes());
        if dimensions > 0 {
            let lower_bound = 1_i32;
            buffer.extend(i32::try_from(self.items.len())?.to_be_bytes());
            buffer.extend(lower_bound.to_be_bytes());
        }
        for item in &self.items {
            buffer.extend(i32::try_from(item.len())?.to_be_bytes());
            buffer.extend(item.as_bytes());
        }
        Ok(IsNull::No)
    }
}
