//! Moving the content of one object, in parts, with bounded memory.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use object_store::path::Path as Key;
use object_store::{MultipartUpload, ObjectStoreExt as _, PutPayload, WriteMultipart};

use crate::destination::Destination;
use crate::error::Error;
use crate::source::{blocking, open};
use crate::sums::Hasher;

/// The size of a part in bytes. A larger file is sent in several requests, and
/// every file is read back in pieces of this size.
pub const PART: u64 = 8 * 1024 * 1024;

/// How many parts are on their way at once.
const PARALLEL: usize = 3;

/// The most parts that a store takes for one object, less a reserve.
const MAX_PARTS: u64 = 9_500;

impl Destination {
    /// Sends a file. The object appears whole or not at all. What is there
    /// afterwards is not known before it is read back: the file may have changed.
    pub(crate) async fn upload(&self, key: &Key, path: &Path, size: u64) -> Result<(), Error> {
        let from = path.to_owned();
        let file = blocking(move || open(&from))
            .await
            .map_err(Error::local("open", path))?;
        let reader = Reader { file, path };
        if size <= PART {
            let (content, _) = reader.next(PART).await?;
            return self.put(key, content).await;
        }
        let upload = self
            .store
            .put_multipart(key)
            .await
            .map_err(|error| self.failed("begin to send a file", &error))?;
        self.upload_parts(upload, reader, part_size(size)).await
    }

    async fn upload_parts(
        &self,
        upload: Box<dyn MultipartUpload>,
        mut reader: Reader<'_>,
        part: u64,
    ) -> Result<(), Error> {
        // The writer cuts at the same size: what is read at once is one part.
        let limit = usize::try_from(part).unwrap_or(usize::MAX);
        let mut writer = WriteMultipart::new_with_chunk_size(upload, limit);
        let failure = loop {
            let (content, rest) = match reader.next(part).await {
                Ok(read) => read,
                Err(error) => break error,
            };
            reader = rest;
            if content.is_empty() {
                let finished = writer.finish().await;
                return match finished {
                    Ok(_) => Ok(()),
                    Err(error) => Err(self.failed("send a file", &error)),
                };
            }
            writer.put(content);
            if let Err(error) = writer.wait_for_capacity(PARALLEL).await {
                break self.failed("send a file", &error);
            }
        };
        // The parts would be kept, and paid for; the first failure is the one
        // to tell.
        let _ = writer.abort().await;
        Err(failure)
    }

    /// Stores a small text.
    pub(crate) async fn put(&self, key: &Key, content: Bytes) -> Result<(), Error> {
        let put = self.store.put(key, PutPayload::from_bytes(content)).await;
        put.map(|_| ())
            .map_err(|error| self.failed("send a file", &error))
    }

    /// The size of an object; `None` if it is not there.
    pub(crate) async fn stored_size(&self, key: &Key) -> Result<Option<u64>, Error> {
        match self.store.head(key).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("look at a file", &error)),
        }
    }

    /// Reads an object of a known size piece by piece, into a file if one is
    /// given, and returns its SHA-256. A failed request repeats one piece.
    pub(crate) async fn read_back(
        &self,
        key: &Key,
        size: u64,
        into: Option<(File, PathBuf)>,
    ) -> Result<String, Error> {
        let mut sink = Sink {
            hasher: Hasher::default(),
            into,
        };
        let mut at = 0;
        while at < size {
            let end = size.min(at + PART);
            let piece = self.store.get_range(key, at..end).await;
            let piece = piece.map_err(|error| match error {
                object_store::Error::NotFound { .. } => self.damaged(key, "it is missing"),
                error => self.failed("read a file", &error),
            })?;
            if piece.len() as u64 != end - at {
                return Err(self.damaged(key, "it is shorter than listed"));
            }
            at = end;
            sink = blocking(move || sink.take(&piece)).await?;
        }
        blocking(move || sink.finish()).await
    }
}

/// A file on the host that is read in parts.
struct Reader<'a> {
    file: File,
    path: &'a Path,
}

impl<'a> Reader<'a> {
    /// The next part; empty at the end.
    async fn next(self, part: u64) -> Result<(Bytes, Reader<'a>), Error> {
        let Self { mut file, path } = self;
        let read = blocking(move || {
            let mut content = Vec::new();
            (&mut file).take(part).read_to_end(&mut content)?;
            Ok((Bytes::from(content), file))
        });
        let (content, file) = read.await.map_err(Error::local("read", path))?;
        Ok((content, Reader { file, path }))
    }
}

/// Where the content of an object goes.
struct Sink {
    hasher: Hasher,
    into: Option<(File, PathBuf)>,
}

impl Sink {
    fn take(mut self, piece: &[u8]) -> Result<Self, Error> {
        self.hasher.update(piece);
        if let Some((file, path)) = &mut self.into {
            file.write_all(piece)
                .map_err(Error::local("write", path.as_path()))?;
        }
        Ok(self)
    }

    fn finish(self) -> Result<String, Error> {
        if let Some((file, path)) = self.into {
            file.sync_all().map_err(Error::local("sync", path))?;
        }
        Ok(self.hasher.finish())
    }
}

/// The size of the parts of a file.
fn part_size(size: u64) -> u64 {
    PART.max(size.div_ceil(MAX_PARTS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_has_more_parts_than_a_store_takes() {
        for size in [PART + 1, 80_000_000_000, 5_000_000_000_000] {
            let part = part_size(size);
            assert!(part >= PART && size.div_ceil(part) <= 10_000, "{size}");
        }
        assert_eq!(part_size(1_000_000_000), PART);
    }
}
