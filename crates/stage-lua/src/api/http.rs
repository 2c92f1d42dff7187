//! Requests of scripts to other services.

use std::time::Duration;

use bytes::Bytes;
use mlua::{
    Error, IntoLuaMulti, Lua, LuaString, MultiValue, Table, UserDataRef, Value as LuaValue,
};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use stage_value::json;

use super::outside::{given, open, take, wait};
use super::unfinished::Handle;
use super::{duration_of, failures, number, own_table};
use crate::convert::Packer;
use crate::http::{Answer, Http, HttpError, Request};
use crate::vm::Local;

/// `http.request(options)`, `http.get(url)` and `http.post(url, body)`.
pub(super) fn install(lua: &Lua, globals: &Table) -> mlua::Result<()> {
    let host = lua.create_table()?;
    host.raw_set("whole", lua.create_async_function(whole)?)?;
    host.raw_set("begin", lua.create_async_function(begin)?)?;
    host.raw_set("chunk", lua.create_async_function(chunk)?)?;
    let http = lua.create_table()?;
    let methods = lua.load(include_str!("http.lua")).set_name("=(stage)");
    methods.call::<()>((host, http.clone(), failures(lua)?))?;
    globals.raw_set("http", http)
}

/// Bytes of a body that a script gets in one piece, if it does not say otherwise.
const MOST: i64 = 1 << 20;

async fn whole(lua: Lua, options: Table) -> mlua::Result<MultiValue> {
    let local = Local::of(&lua)?;
    let options = own_table(&lua, &local, options)?;
    let most = options.raw_get::<Option<i64>>("max_bytes")?.unwrap_or(MOST);
    let most = usize::try_from(most).unwrap_or(0).min(local.options.values.bytes);
    let (http, request) = match prepare(&lua, &local, &options)? {
        Ok(prepared) => prepared,
        Err(error) => return refused(&lua, &error),
    };
    let exchange = local.services.spawn(async move { http.whole(request, most).await });
    match wait(&lua, Held(exchange).ended())?.await {
        Ok((answer, body)) => {
            let headers = table_of(&lua, &answer.headers)?;
            given(&lua, (answer.status, headers, lua.create_string(&body)?))
        }
        Err(error) => refused(&lua, &error),
    }
}

async fn begin(lua: Lua, options: Table) -> mlua::Result<MultiValue> {
    let local = Local::of(&lua)?;
    let options = own_table(&lua, &local, options)?;
    let (http, request) = match prepare(&lua, &local, &options)? {
        Ok(prepared) => prepared,
        Err(error) => return refused(&lua, &error),
    };
    let timeout = request.timeout;
    let exchange = local.services.spawn(async move { http.begin(request).await });
    match wait(&lua, Held(exchange).ended())?.await {
        Ok(answer) => {
            let (status, headers) = (answer.status, table_of(&lua, &answer.headers)?);
            let handle = open(&lua, Open { answer, timeout })?;
            given(&lua, (status, headers, handle))
        }
        Err(error) => refused(&lua, &error),
    }
}

/// An answer of which pieces are still to come.
struct Open {
    answer: Answer,
    timeout: Duration,
}

async fn chunk(lua: Lua, handle: UserDataRef<Handle>) -> mlua::Result<MultiValue> {
    let (run, Some(mut open)) = take::<Open>(&handle)? else {
        return given(&lua, LuaValue::Nil);
    };
    let next = async move {
        let bytes = open.answer.chunk(open.timeout).await;
        (open, bytes)
    };
    let (open, bytes) = wait(&lua, next)?.await;
    match bytes {
        Ok(Some(bytes)) => {
            run.unfinished.put_back(&handle, open);
            given(&lua, lua.create_string(&bytes)?)
        }
        Ok(None) => given(&lua, LuaValue::Nil),
        Err(error) => refused(&lua, &error),
    }
}

/// A task that ends with whoever waits for it.
struct Held<T>(tokio::task::JoinHandle<Result<T, HttpError>>);

impl<T> Held<T> {
    async fn ended(mut self) -> Result<T, HttpError> {
        (&mut self.0).await.unwrap_or(Err(HttpError::Stopping))
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Prepared = Result<(Http, Request), HttpError>;

/// A request as the options say; wrong types of options are errors of the call.
fn prepare(lua: &Lua, local: &Local, options: &Table) -> mlua::Result<Prepared> {
    let LuaValue::String(url) = options.raw_get("url")? else {
        return Err(Error::runtime(
            "http.request needs a url, a string that begins with http:// or https://",
        ));
    };
    let method: Option<LuaString> = options.raw_get("method")?;
    let method = method.map_or_else(|| "GET".to_owned(), |method| method.to_string_lossy());
    let mut request = match Request::new(&method, &url.to_string_lossy()) {
        Ok(request) => request,
        Err(error) => return Ok(Err(error)),
    };
    if let Some(headers) = options.raw_get::<Option<Table>>("headers")? {
        for header in own_table(lua, local, headers)?.pairs::<LuaString, LuaString>() {
            let (name, value) = header?;
            if let Err(error) = request.header(&name.to_string_lossy(), &value.as_bytes()) {
                return Ok(Err(error));
            }
        }
    }
    if let Some(body) = options.raw_get::<Option<LuaString>>("body")? {
        request.body = Bytes::copy_from_slice(&body.as_bytes());
    }
    let body = options.raw_get::<LuaValue>("json")?;
    if !body.is_nil() {
        let packer = Packer::new(lua, local, local.options.values);
        let value = packer.pack_one("json", body).map_err(Error::external)?;
        let text = json::to_json(&value).map_err(Error::external)?.to_string();
        request.body = Bytes::from(text);
        request.default_header(CONTENT_TYPE, "application/json");
    }
    let seconds = options.raw_get::<LuaValue>("timeout")?;
    if !seconds.is_nil() {
        let positive = number(&seconds).filter(|seconds| *seconds > 0.0);
        let Some(seconds) = positive else {
            return Err(Error::runtime("timeout: a number of seconds above 0 is expected"));
        };
        request.timeout = duration_of(seconds);
    }
    request.follow = options.raw_get::<Option<bool>>("follow")?.unwrap_or(true);
    Ok(local.services.http().map(|http| (http, request)))
}

fn refused(lua: &Lua, error: &HttpError) -> mlua::Result<MultiValue> {
    let kind = error.kind();
    Local::of(lua)?.services.requests.failed(kind);
    (false, error.to_string(), kind.as_str()).into_lua_multi(lua)
}

/// Headers by name; those that come more than once are joined by commas, as HTTP has it.
fn table_of(lua: &Lua, headers: &HeaderMap) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, headers.keys_len())?;
    for name in headers.keys() {
        let values: Vec<_> = headers.get_all(name).iter().map(|value| value.as_bytes()).collect();
        table.raw_set(name.as_str(), lua.create_string(values.join(&b", "[..]))?)?;
    }
    Ok(table)
}
