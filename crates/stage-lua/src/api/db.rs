//! The databases of the node for scripts.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use mlua::{
    AnyUserData, Error, IntoLuaMulti, Lua, LuaString, MultiValue, Table, UserDataRef,
    Value as LuaValue,
};
use stage_db::{Columns, Param, Pool, Row, RowStream, Rows, Transaction};
use stage_value::Value;

use super::failures;
use super::outside::{current, given, open, take, wait};
use super::unfinished::{Elsewhere, Handle};
use crate::convert::{Packer, Unpacker};
use crate::services::Services;
use crate::vm::Local;

/// `db.open(name)`, `db.NAME` with its methods, and `db.blob(bytes)`.
pub(super) fn install(lua: &Lua, globals: &Table, services: &Services) -> mlua::Result<()> {
    let db = lua.create_table()?;
    let blob = |lua: &Lua, bytes: LuaString| {
        lua.create_any_userdata(Blob(Bytes::copy_from_slice(&bytes.as_bytes())))
    };
    db.raw_set("blob", lua.create_function(blob)?)?;
    let names = lua.create_table()?;
    for (name, _) in services.parts.databases.iter() {
        names.raw_push(name)?;
    }
    let given = failures(lua)?;
    let methods = lua.load(include_str!("db.lua")).set_name("=(stage)");
    methods.call::<()>((host(lua)?, db.clone(), names, given))?;
    globals.raw_set("db", db)
}

/// Bytes that are bytes to the database, even where they could be text.
struct Blob(Bytes);

/// What runs outside of the VM. Each function returns `true` and its results, or `false` and why not.
fn host(lua: &Lua) -> mlua::Result<Table> {
    let host = lua.create_table()?;
    host.raw_set(
        "query",
        lua.create_async_function(async |lua: Lua, args: MultiValue| {
            match run_statement(&lua, args).await? {
                Ok(rows) => {
                    let made = table_of_rows(&lua, rows)?;
                    given(&lua, made)
                }
                Err(error) => refused(&lua, &error),
            }
        })?,
    )?;
    host.raw_set(
        "execute",
        lua.create_async_function(async |lua: Lua, args: MultiValue| {
            match run_statement(&lua, args).await? {
                Ok(rows) => {
                    let affected = i64::try_from(rows.affected).unwrap_or(i64::MAX);
                    given(&lua, (affected, rows.last_id))
                }
                Err(error) => refused(&lua, &error),
            }
        })?,
    )?;
    host.raw_set("stream", lua.create_async_function(stream)?)?;
    host.raw_set("next", lua.create_async_function(next)?)?;
    host.raw_set("begin", lua.create_async_function(begin)?)?;
    host.raw_set("commit", lua.create_async_function(commit)?)?;
    host.raw_set("roll_back", lua.create_async_function(roll_back)?)?;
    Ok(host)
}

type Ended<T> = Result<T, stage_db::Error>;

/// A statement on a pool or in a transaction of the handler that runs.
async fn run_statement(lua: &Lua, args: MultiValue) -> mlua::Result<Ended<Rows>> {
    let statement = Statement::read(lua, args)?;
    Ok(match statement.target {
        LuaValue::UserData(handle) => match transaction(&handle)? {
            Some(transaction) => {
                let query = async move { transaction.query(statement.sql, statement.params).await };
                wait(lua, query)?.await
            }
            None => Err(stage_db::Error::TransactionOver),
        },
        target => {
            let pool = pool(lua, &target)?;
            let query = async move { pool.query(statement.sql, statement.params).await };
            wait(lua, query)?.await
        }
    })
}

/// The transaction of the handler that runs; `None` if it is over.
fn transaction(handle: &AnyUserData) -> mlua::Result<Option<Rc<Transaction>>> {
    let handle = handle.borrow::<Handle>()?;
    current()?.unfinished.find(&handle).map_err(Error::external)
}

async fn stream(lua: Lua, args: MultiValue) -> mlua::Result<MultiValue> {
    let Statement { target, sql, params } = Statement::read(&lua, args)?;
    let pool = pool(&lua, &target)?;
    match wait(&lua, async move { pool.stream(sql, params).await })?.await {
        Ok(stream) => {
            let handle = open(&lua, stream)?;
            given(&lua, handle)
        }
        Err(error) => refused(&lua, &error),
    }
}

async fn next(lua: Lua, handle: UserDataRef<Handle>) -> mlua::Result<MultiValue> {
    let (run, Some(mut stream)) = take::<RowStream>(&handle)? else {
        return given(&lua, LuaValue::Nil);
    };
    let next = async move {
        let row = stream.next().await;
        (stream, row)
    };
    let (stream, row) = wait(&lua, next)?.await;
    match row {
        Ok(Some(row)) => {
            let columns = names_of(&lua, stream.columns())?;
            run.unfinished.put_back(&handle, stream);
            let row = table_of_row(&lua, &columns, row)?;
            given(&lua, row)
        }
        Ok(None) => given(&lua, LuaValue::Nil),
        Err(error) => refused(&lua, &error),
    }
}

async fn begin(lua: Lua, target: LuaValue) -> mlua::Result<MultiValue> {
    let pool = pool(&lua, &target)?;
    match wait(&lua, async move { pool.begin().await })?.await {
        Ok(transaction) => {
            let handle = open(&lua, Rc::new(transaction))?;
            given(&lua, handle)
        }
        Err(error) => refused(&lua, &error),
    }
}

async fn commit(lua: Lua, handle: UserDataRef<Handle>) -> mlua::Result<MultiValue> {
    let ended = match take::<Rc<Transaction>>(&handle)?.1 {
        Some(transaction) => wait(&lua, async move { transaction.commit().await })?.await,
        None => Err(stage_db::Error::TransactionOver),
    };
    match ended {
        Ok(()) => given(&lua, ()),
        Err(error) => refused(&lua, &error),
    }
}

async fn roll_back(lua: Lua, handle: UserDataRef<Handle>) -> mlua::Result<MultiValue> {
    // That of another handler ends with that one; what is to be raised here is why it was to be rolled back.
    let ended = match current()?.unfinished.take::<Rc<Transaction>>(&handle) {
        Ok(Some(transaction)) => wait(&lua, async move { transaction.roll_back().await })?.await,
        Ok(None) | Err(Elsewhere) => Ok(()),
    };
    match ended {
        Ok(()) => given(&lua, ()),
        Err(error) => refused(&lua, &error),
    }
}

fn pool(lua: &Lua, target: &LuaValue) -> mlua::Result<Pool> {
    let name = target.as_string().map(LuaString::to_string_lossy).unwrap_or_default();
    let pool = Local::of(lua)?.services.parts.databases.pool(&name).cloned();
    pool.ok_or_else(|| Error::runtime(format!("no database '{name}' in #db of stage.json")))
}

/// What a script asks a database for.
struct Statement {
    target: LuaValue,
    sql: Arc<str>,
    params: Vec<Param>,
}

impl Statement {
    fn read(lua: &Lua, mut args: MultiValue) -> mlua::Result<Self> {
        let target = args.pop_front().unwrap_or(LuaValue::Nil);
        let sql = match args.pop_front().unwrap_or(LuaValue::Nil) {
            LuaValue::String(text) => Arc::from(&*text.to_str()?),
            other => {
                let message =
                    format!("the SQL of a statement has to be a string, not {}", other.type_name());
                return Err(Error::runtime(message));
            }
        };
        let local = Local::of(lua)?;
        let params = (1..).zip(args).map(|(position, arg)| param(lua, &local, position, arg));
        Ok(Self { target, sql, params: params.collect::<mlua::Result<_>>()? })
    }
}

fn param(lua: &Lua, local: &Local, position: usize, arg: LuaValue) -> mlua::Result<Param> {
    if let LuaValue::UserData(data) = &arg
        && let Ok(blob) = data.borrow::<Blob>()
    {
        return Ok(Param::Blob(blob.0.clone()));
    }
    let packer = Packer::new(lua, local, local.options.values);
    let named = |error| Error::runtime(format!("parameter {position}: {error}"));
    packer.pack_one("value", arg).map(Param::from).map_err(named)
}

fn refused(lua: &Lua, error: &stage_db::Error) -> mlua::Result<MultiValue> {
    (false, error.to_string(), error.kind(), error.sqlstate()).into_lua_multi(lua)
}

/// A list of tables by column.
fn table_of_rows(lua: &Lua, rows: Rows) -> mlua::Result<Table> {
    let names = names_of(lua, &rows.columns)?;
    let list = lua.create_table_with_capacity(rows.rows.len(), 0)?;
    for row in rows.rows {
        list.raw_push(table_of_row(lua, &names, row)?)?;
    }
    Ok(list)
}

fn names_of(lua: &Lua, columns: &Columns) -> mlua::Result<Vec<LuaString>> {
    columns.iter().map(|name| lua.create_string(&**name)).collect()
}

fn table_of_row(lua: &Lua, names: &[LuaString], row: Row) -> mlua::Result<Table> {
    let local = Local::of(lua)?;
    let table = lua.create_table_with_capacity(0, row.len())?;
    for (name, value) in names.iter().zip(row) {
        let value = match value {
            Value::Nil => continue,
            Value::List(_) | Value::Map(_) => Unpacker::new(lua, &local).unpack(value)?,
            Value::Bool(value) => LuaValue::Boolean(value),
            Value::Int(value) => LuaValue::Integer(value),
            Value::Float(value) => LuaValue::Number(value),
            Value::Bytes(bytes) => LuaValue::String(lua.create_string(bytes)?),
            Value::Function(_) => continue,
        };
        table.raw_set(name, value)?;
    }
    Ok(table)
}
