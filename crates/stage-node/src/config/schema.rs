//! The JSON Schema of `stage.json`, for editors that complete and check as one types.

use schemars::Schema;
use serde_json::json;

use super::Config;

/// The schema, draft 2020-12.
///
/// It knows every key, type, range and default; that scripts exist and that no listener is left open
/// to other machines is for [`Config::load`] alone.
#[must_use]
pub fn schema() -> Schema {
    let mut schema = schemars::schema_for!(Config);
    let properties = schema.get_mut("properties").and_then(|properties| properties.as_object_mut());
    if let Some(properties) = properties {
        let description = "This schema, for editors. The node does not read it.";
        properties
            .insert("$schema".into(), json!({ "type": "string", "description": description }));
    }
    let description = "A value of the author's own, which scripts have as process[\"$%key\"].";
    let own = json!({ "^%[A-Za-z0-9_.-]{1,64}$": { "description": description } });
    schema.insert("patternProperties".into(), own);
    schema
}

#[cfg(test)]
mod tests;
