//! What the options of a store say of how its storage is reached.

use std::time::Duration;

use super::options::{
    API_KEY, CONNECT_TIMEOUT_MS, DATABASE, HOST_OVERRIDE, Options, READ_TIMEOUT_MS, REGION, TLS_CA_FILE,
    WRITE_SINGLE_WRITER,
};
use crate::backend::Connect;
use crate::error::Result;

pub fn connect(options: &Options) -> Result<Connect> {
    let text = |key: &str| options.given(key).map(str::to_owned);
    let time = |key: &str| Ok(options.integer(key)?.map(Duration::from_millis));
    let storage_options = options.storage_options();
    Ok(Connect {
        storage_options: storage_options.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        api_key: text(API_KEY),
        region: text(REGION),
        host_override: text(HOST_OVERRIDE),
        database: text(DATABASE),
        ca_file: text(TLS_CA_FILE).map(Into::into),
        connect_timeout: time(CONNECT_TIMEOUT_MS)?,
        read_timeout: time(READ_TIMEOUT_MS)?,
        single_writer: options.get(WRITE_SINGLE_WRITER)? == Some("accept"),
    })
}
