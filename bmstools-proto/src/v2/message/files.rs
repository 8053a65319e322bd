//! Files and trees (docs/protocol-v2.md, "Files").

use minicbor::{Decode, Encode};

use super::Failure;

/// Receive files.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Push {
    /// Where to: an absolute path.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub destination: Vec<u8>,
    /// What comes.
    #[n(1)]
    pub offer: Offer,
    /// How to put it there.
    #[n(2)]
    pub options: PutOptions,
}

/// Send files.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Pull {
    /// An absolute path.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub source: Vec<u8>,
    /// Whether a directory is sent with all in it, and not refused.
    #[n(1)]
    pub recursive: bool,
}

/// What a sender has.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Offer {
    /// The last component of the source's path; empty where it has none.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// Whether it is a directory.
    #[n(1)]
    pub directory: bool,
    /// Bytes of all files.
    #[n(2)]
    pub bytes: u64,
    /// Bytes that they take on a disk, holes left out.
    #[n(3)]
    pub space: u64,
    /// Files, directories and links.
    #[n(4)]
    pub entries: u64,
}

/// How a receiver of a push puts files in place.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct PutOptions {
    /// Existing files are not replaced.
    #[n(0)]
    pub no_clobber: bool,
    /// Permission bits of files, in place of the sender's.
    #[n(1)]
    pub mode: Option<u32>,
    /// Owner of everything, in place of the sender's.
    #[n(2)]
    pub user: Option<Owner>,
    /// Group of everything, in place of the sender's.
    #[n(3)]
    pub group: Option<Owner>,
    /// The same transfer was begun before: what is there and identical is its work.
    #[n(4)]
    pub again: bool,
}

/// A user or a group of the receiver's host.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Owner {
    /// By number.
    #[n(0)]
    Id(#[n(0)] u32),
    /// By name.
    #[n(1)]
    Name(#[n(0)] String),
}

/// What inodes hold beside data.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct Meta {
    /// The twelve permission bits.
    #[n(0)]
    pub mode: u32,
    /// The owner's number.
    #[n(1)]
    pub uid: u32,
    /// The group's number.
    #[n(2)]
    pub gid: u32,
    /// Modification time in seconds since 1970.
    #[n(3)]
    pub mtime: i64,
    /// Nanoseconds of it.
    #[n(4)]
    pub mtime_nsec: u32,
}

/// From the sender, on the request's stream.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[non_exhaustive]
pub enum ToReceiver {
    /// The first of a pull: what will come.
    #[n(0)]
    Offer(#[n(0)] Offer),
    /// Nothing will come any more.
    #[n(1)]
    Refused(#[n(0)] Failure),
    /// A directory; what follows up to its `Leave` is in it.
    #[n(2)]
    Dir(#[n(0)] Dir),
    /// The directory is complete.
    #[n(3)]
    Leave,
    /// A symbolic link.
    #[n(4)]
    Symlink(#[n(0)] Symlink),
    /// A file with its data.
    #[n(5)]
    Small(#[n(0)] Small),
    /// A file without its data: the receiver may have it.
    #[n(6)]
    Check(#[n(0)] Check),
    /// The data of a file that was wanted after `Check`.
    #[n(7)]
    Data(#[n(0)] Data),
    /// A file whose data comes on a stream of its own.
    #[n(8)]
    Large(#[n(0)] Large),
    /// Which of the blocks that the receiver has are right.
    #[n(9)]
    Keep(#[n(0)] Keep),
    /// Everything of a large file was written to its stream.
    #[n(10)]
    FileEnd(#[n(0)] FileEnd),
    /// Something cannot be sent.
    #[n(11)]
    Problem(#[n(0)] Problem),
    /// Neither file, directory nor link: not sent.
    #[n(12)]
    Skipped(#[n(0)] Skipped),
    /// There is no more.
    #[n(13)]
    End,
}

/// From the receiver, on the request's stream.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[non_exhaustive]
pub enum ToSender {
    /// Send.
    #[n(0)]
    Accepted(#[n(0)] Accepted),
    /// Nothing is taken any more.
    #[n(1)]
    Refused(#[n(0)] Failure),
    /// These entries are in place.
    #[n(2)]
    Done(#[n(0)] Done),
    /// This entry is not, nor will it be.
    #[n(3)]
    Failed(#[n(0)] Failed),
    /// The data of this entry is needed.
    #[n(4)]
    Want(#[n(0)] u64),
    /// What there is of a large file.
    #[n(5)]
    Have(#[n(0)] Have),
    /// After `End`: everything taken is in place and on the disk.
    #[n(6)]
    Finished(#[n(0)] Finished),
}

/// A directory.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Dir {
    /// Its name in the directory that it is in; empty for the root.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// Set when its contents are complete.
    #[n(1)]
    pub meta: Meta,
}

/// A symbolic link.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Symlink {
    /// Its name.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// Its mode means nothing.
    #[n(1)]
    pub meta: Meta,
    /// What it points to, not looked at.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub target: Vec<u8>,
}

/// A file of at most [`MAX_INLINE`] bytes.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Small {
    /// Its name; empty for the root.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// Its inode.
    #[n(1)]
    pub meta: Meta,
    /// All of it.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub data: Vec<u8>,
}

/// A file of at most [`MAX_INLINE`] bytes that the receiver may have.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Check {
    /// Its name; empty for the root.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// Its inode.
    #[n(1)]
    pub meta: Meta,
    /// Bytes.
    #[n(2)]
    pub size: u64,
    /// XXH3-128 of the data.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub digest: [u8; DIGEST_LEN],
}

/// The data of a file that was wanted.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Data {
    /// Which.
    #[n(0)]
    pub entry: u64,
    /// All of it.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub data: Vec<u8>,
}

/// A file whose data comes on a stream of its own.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Large {
    /// Its name; empty for the root.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub name: Vec<u8>,
    /// Its inode.
    #[n(1)]
    pub meta: Meta,
    /// Bytes, holes included.
    #[n(2)]
    pub size: u64,
    /// The sender's placed stream.
    #[n(3)]
    pub stream: u32,
}

/// What a receiver has of a large file.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Have {
    /// Which.
    #[n(0)]
    pub entry: u64,
    /// The digest of a file of this size and time that is in place.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub whole: Option<[u8; DIGEST_LEN]>,
    /// A bit for each block, from the lowest of the first byte on: whether a previous
    /// attempt left something of it. May end early.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub blocks: Vec<u8>,
    /// The digests of these blocks, one behind the other.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub digests: Vec<u8>,
}

/// Which blocks of [`Have`] are right; the others are cleared before data is taken.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Keep {
    /// Which file.
    #[n(0)]
    pub entry: u64,
    /// The file in place is the one: nothing will come.
    #[n(1)]
    pub whole: bool,
    /// A bit for each block that stays.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub blocks: Vec<u8>,
}

/// The end of a large file.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct FileEnd {
    /// Which.
    #[n(0)]
    pub entry: u64,
    /// Of the whole file.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub digest: [u8; DIGEST_LEN],
    /// Bytes written to the stream.
    #[n(2)]
    pub sent: u64,
}

/// Something cannot be sent.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Problem {
    /// The entry that was announced and will not be completed, where it was.
    #[n(0)]
    pub entry: Option<u64>,
    /// Why; names the path.
    #[n(1)]
    pub failure: Failure,
}

/// Something of a kind that is not sent.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Skipped {
    /// Its path below the source.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub path: Vec<u8>,
    /// "socket", "device" and the like.
    #[n(1)]
    pub kind: String,
}

/// A receiver is ready.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Accepted {
    /// Where the root will be.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub path: Vec<u8>,
    /// Something is there: `Check` may spare data.
    #[n(1)]
    pub check: bool,
}

/// Entries `first..first + count` are in place. Told of checked and large files only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Done {
    /// The first.
    #[n(0)]
    pub first: u64,
    /// How many.
    #[n(1)]
    pub count: u64,
}

/// An entry could not be put in place.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
#[cbor(map)]
pub struct Failed {
    /// Which.
    #[n(0)]
    pub entry: u64,
    /// Why; names the path.
    #[n(1)]
    pub failure: Failure,
}

/// What a receiver has put in place.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode)]
#[cbor(map)]
pub struct Finished {
    /// Files, directories and links.
    #[n(0)]
    pub entries: u64,
    /// Bytes of files that were there before and did not have to come again.
    #[n(1)]
    pub resumed: u64,
    /// What failed behind entries that were in place: owners, modes and times of
    /// directories. At most 100.
    #[n(2)]
    pub failures: Vec<Failure>,
}

/// Bytes of data that come within a message at most.
pub const MAX_INLINE: usize = 64 << 10;
/// Bytes of a digest.
pub const DIGEST_LEN: usize = 16;
/// Bytes of a block, unless the file would have more than [`MAX_BLOCKS`].
pub const MIN_BLOCK: u64 = 256 << 10;
/// Blocks of a file at most: larger files have larger blocks.
pub const MAX_BLOCKS: u64 = 32 << 10;
/// Large files at once that a sender may have announced and that are neither done nor
/// failed.
pub const MAX_LARGE: usize = 8;
/// Checked files at once that are neither done, failed nor wanted and sent.
pub const MAX_CHECKED: usize = 256;
/// Directories within each other at most.
pub const MAX_DEPTH: usize = 256;

/// Bytes of each block of a file of `size` bytes, but for the last: a power of two.
pub fn block_len(size: u64) -> u64 {
    size.div_ceil(MAX_BLOCKS).max(MIN_BLOCK).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_has_more_blocks_than_a_message_can_tell_digests_of() {
        for size in [0, 1, MIN_BLOCK, MIN_BLOCK * MAX_BLOCKS, (8 << 30) + 1, 1 << 50, 1 << 63] {
            let len = block_len(size);
            assert!(size.div_ceil(len) <= MAX_BLOCKS, "{size}");
            assert!(len == MIN_BLOCK || size.div_ceil(len / 2) > MAX_BLOCKS, "{size}");
        }
        let digests = MAX_BLOCKS as usize * (DIGEST_LEN + 1);
        assert!(digests < super::super::MAX_MESSAGE);
    }

    #[test]
    fn messages_survive_the_way_over_the_wire() {
        let meta = Meta { mode: 0o4755, uid: 7, gid: 8, mtime: -5, mtime_nsec: 999 };
        let messages = [
            ToReceiver::Leave,
            ToReceiver::Small(Small { name: b"a\xff\n".to_vec(), meta, data: vec![0, 255] }),
            ToReceiver::Check(Check { name: vec![], meta, size: 9, digest: [3; DIGEST_LEN] }),
            ToReceiver::Keep(Keep { entry: 1 << 40, whole: true, blocks: vec![1] }),
        ];
        for message in messages {
            let bytes = minicbor::to_vec(&message).unwrap();
            assert_eq!(minicbor::decode::<ToReceiver>(&bytes).unwrap(), message);
        }
        let have = Have { entry: 0, whole: None, blocks: vec![5], digests: vec![0; 32] };
        for have in [Have { whole: Some([9; DIGEST_LEN]), ..have.clone() }, have] {
            let bytes = minicbor::to_vec(ToSender::Have(have.clone())).unwrap();
            assert_eq!(minicbor::decode::<ToSender>(&bytes).unwrap(), ToSender::Have(have));
        }
    }
}
