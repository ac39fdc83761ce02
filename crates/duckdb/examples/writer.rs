//! A process that holds a database as an application does; the tests of
//! `cb-duckdb` start it and kill it. `writer FILE SQL` opens FILE, runs SQL,
//! says `ready`, and stays until its input ends. It never checkpoints, so what
//! it wrote stays in the write-ahead log.

use std::env;
use std::error::Error;
use std::io::{Read, Write};

use duckdb::Connection;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [file, sql] = arguments.as_slice() else {
        return Err("usage: writer FILE SQL".into());
    };
    let connection = Connection::open(file)?;
    connection
        .execute_batch("SET wal_autocheckpoint = '1TB'; PRAGMA disable_checkpoint_on_shutdown")?;
    connection.execute_batch(sql)?;
    println!("ready");
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
