use std::any;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use crate::{Snapshot, Store, Transaction};

/// A value of any type: what a [`Store`] holds whose names each have a type of their own.
///
/// ```
/// use std::convert::Infallible;
/// use stage_snapshot::{Any, Name, Store, Table};
///
/// const MOTTO: Name<String> = Name::new("motto");
/// const STOCK: Name<Table<&str, u32>> = Name::new("stock");
///
/// let shop: Store<Any> = Store::new();
/// shop.transaction(|tx| {
///     let mut stock = tx.read(&STOCK).cloned().unwrap_or_default();
///     stock.insert("tea", 3);
///     tx.write(&STOCK, stock);
///     tx.write(&MOTTO, "wait for nobody".to_owned());
///     Ok::<_, Infallible>(())
/// })?;
/// // Both as of one version.
/// let snapshot = shop.snapshot();
/// assert_eq!(snapshot.read(&MOTTO).map(String::as_str), Some("wait for nobody"));
/// assert_eq!(snapshot.read(&STOCK).and_then(|stock| stock.get("tea")), Some(&3));
/// # Ok::<(), Infallible>(())
/// ```
pub struct Any {
    value: Box<dyn any::Any + Send + Sync>,
    kind: &'static str,
}

/// A name of a [`Store`] of [`Any`] whose value is a `T`.
///
/// Two names of one text are one place: what is written under one type reads as nothing under another.
pub struct Name<T> {
    text: Cow<'static, str>,
    of: PhantomData<fn() -> T>,
}

impl Any {
    /// A value.
    #[must_use]
    pub fn new<T: Send + Sync + 'static>(value: T) -> Self {
        Self { value: Box::new(value), kind: any::type_name::<T>() }
    }

    /// The value, if it is a `T`. O(1).
    #[must_use]
    pub fn get<T: 'static>(&self) -> Option<&T> {
        self.value.downcast_ref()
    }
}

impl<T> Name<T> {
    /// A name that the program has in its text.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        Self { text: Cow::Borrowed(text), of: PhantomData }
    }

    /// A name that the program comes to know as it runs.
    #[must_use]
    pub const fn known_as(text: String) -> Self {
        Self { text: Cow::Owned(text), of: PhantomData }
    }

    /// The name as [`Store::watch`] and others take it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Snapshot<Any> {
    /// The value of a name, if it has one of this type. O(log names).
    #[must_use]
    pub fn read<T: 'static>(&self, name: &Name<T>) -> Option<&T> {
        self.get(name.as_str())?.get()
    }
}

impl Transaction<Any> {
    /// The value of a name, if it has one of this type: what this transaction wrote, or else what it was at its begin.
    pub fn read<T: 'static>(&mut self, name: &Name<T>) -> Option<&T> {
        self.get(name.as_str())?.get()
    }

    /// Sets a name's value when the transaction commits. Never conflicts by itself.
    pub fn write<T: Send + Sync + 'static>(&mut self, name: &Name<T>, value: T) {
        self.set(name.as_str(), Any::new(value));
    }
}

impl Store<Any> {
    /// Replaces a name's value by one computed from it: an [`update`](Self::update) by type. `None` if the name has no
    /// value of this type. O(names).
    ///
    /// # Errors
    /// What `compute` returned.
    pub fn replace<T: Send + Sync + 'static, E>(
        &self,
        name: &Name<T>,
        mut compute: impl FnMut(Option<&T>) -> Result<T, E>,
    ) -> Result<u64, E> {
        self.update(name.as_str(), |value| Ok(Some(Any::new(compute(value.and_then(Any::get))?))))
    }
}

impl<T> Clone for Name<T> {
    fn clone(&self) -> Self {
        Self { text: self.text.clone(), of: PhantomData }
    }
}

impl fmt::Debug for Any {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Any").field(&self.kind).finish()
    }
}

impl<T> fmt::Debug for Name<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Name").field(&self.text).field(&any::type_name::<T>()).finish()
    }
}
