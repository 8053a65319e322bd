use std::os::unix::fs::PermissionsExt as _;

use bmstools_proto::keys::PrivateKey;
use bmstools_proto::v2::identity::KeyType;
use rustix::process::geteuid;
use tempfile::TempDir;

use super::file::check_rights;
use super::*;

const V1: Protocols = Protocols { v1: true, v2: false };
const V2: Protocols = Protocols { v1: false, v2: true };
const BOTH: Protocols = Protocols { v1: true, v2: true };

/// An agent's directory for version 2: its own key, and this operator's.
fn v2(own: KeyType, operator: &Identity) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "private.pem", &identity::generate(own).unwrap(), 0o600);
    write(dir.path(), "authorized_keys.d/a.pem", &operator.public_key().to_pem(), 0o644);
    dir
}

fn someone(kind: KeyType) -> Identity {
    Identity::from_pem(&identity::generate(kind).unwrap()).unwrap()
}

/// A directory with a pair of keys, as `bmstools keygen` leaves it.
fn pair() -> (TempDir, PrivateKey) {
    let dir = tempfile::tempdir().unwrap();
    let key = generate();
    write(dir.path(), "private.pem", &key.to_pem(), 0o600);
    write(dir.path(), "public.pem", &key.public_key().to_pem(), 0o644);
    (dir, key)
}

fn generate() -> PrivateKey {
    PrivateKey::generate(1024, &mut rand::rngs::OsRng).unwrap()
}

fn write(dir: &Path, name: &str, text: &str, mode: u32) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

fn refusal(dir: &TempDir) -> String {
    format!("{:#}", KeyDir::new(dir.path()).check(V1).unwrap_err())
}

/// The keys of one attempt after the other.
fn fingerprints(dir: &TempDir) -> Vec<String> {
    let keys = KeyDir::new(dir.path());
    (0..).map_while(|attempt| keys.for_attempt(attempt)).map(|key| key.fingerprint()).collect()
}

#[test]
fn a_pair_is_accepted_and_the_private_half_is_not_needed() {
    let (dir, key) = pair();
    KeyDir::new(dir.path()).check(V1).unwrap();
    fs::remove_file(dir.path().join("private.pem")).unwrap();
    KeyDir::new(dir.path()).check(V1).unwrap();
    assert_eq!(fingerprints(&dir), [key.public_key().fingerprint()]);
}

#[test]
fn attempts_go_through_the_keys_in_order() {
    let (dir, first) = pair();
    let more = [generate(), generate()];
    write(dir.path(), "authorized_keys.d/b.pem", &more[1].public_key().to_pem(), 0o644);
    write(dir.path(), "authorized_keys.d/a.pem", &more[0].public_key().to_pem(), 0o644);
    write(dir.path(), "authorized_keys.d/notes.txt", "not a key", 0o644);
    KeyDir::new(dir.path()).check(V1).unwrap();
    let expected = [&first, &more[0], &more[1]].map(|key| key.public_key().fingerprint());
    assert_eq!(fingerprints(&dir), expected);
}

#[test]
fn a_removed_key_is_out_at_the_next_authentication() {
    let (dir, _) = pair();
    let other = generate();
    write(dir.path(), "authorized_keys.d/a.pem", &other.public_key().to_pem(), 0o644);
    fs::remove_file(dir.path().join("public.pem")).unwrap();
    assert_eq!(fingerprints(&dir), [other.public_key().fingerprint()]);
    fs::remove_file(dir.path().join("authorized_keys.d/a.pem")).unwrap();
    assert!(KeyDir::new(dir.path()).for_attempt(0).is_none());
}

#[test]
fn a_broken_file_among_others_is_refused_at_start_and_passed_over_later() {
    let (dir, key) = pair();
    write(dir.path(), "authorized_keys.d/a.pem", "nonsense", 0o644);
    assert!(refusal(&dir).contains("authorized_keys.d/a.pem"), "{}", refusal(&dir));
    assert_eq!(fingerprints(&dir), [key.public_key().fingerprint()]);
}

#[test]
fn a_missing_key_or_directory_names_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let refused = refusal(&dir);
    assert!(refused.contains("public.pem is missing"), "{refused}");
    assert!(refused.contains("bmstools keygen"), "{refused}");
    let gone = dir.path().join("gone");
    let refused = format!("{:#}", KeyDir::new(&gone).check(V1).unwrap_err());
    assert!(refused.contains("gone; make it"), "{refused}");
    assert!(refused.contains("bmstools keygen"), "{refused}");
}

#[test]
fn a_private_key_in_the_public_place_is_refused() {
    let (dir, key) = pair();
    write(dir.path(), "public.pem", &key.to_pem(), 0o644);
    let refused = refusal(&dir);
    assert!(refused.contains("public.pem") && refused.contains("private key"), "{refused}");
}

#[test]
fn a_private_key_that_others_can_read_is_refused_with_the_chmod_to_run() {
    for mode in [0o644, 0o640, 0o604] {
        let (dir, key) = pair();
        write(dir.path(), "private.pem", &key.to_pem(), mode);
        let refused = refusal(&dir);
        let run = format!("chmod 600 {}", dir.path().join("private.pem").display());
        assert!(refused.contains(&run), "{refused}");
        assert!(refused.contains(&format!("{mode:04o}")), "{refused}");
    }
}

#[test]
fn halves_of_two_keys_are_refused() {
    let (dir, _) = pair();
    let other = generate();
    write(dir.path(), "private.pem", &other.to_pem(), 0o600);
    assert!(refusal(&dir).contains("not two halves of one key"));
}

#[test]
fn keys_that_everybody_can_write_are_refused() {
    let (dir, key) = pair();
    write(dir.path(), "public.pem", &key.public_key().to_pem(), 0o646);
    assert!(refusal(&dir).contains("chmod o-w"));
    assert!(KeyDir::new(dir.path()).for_attempt(0).is_none());
    write(dir.path(), "public.pem", &key.public_key().to_pem(), 0o644);
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(refusal(&dir).contains("chmod o-w"));
}

#[test]
fn more_keys_than_an_operator_could_try_are_refused() {
    let (dir, key) = pair();
    for n in 0..MAX_KEYS {
        let name = format!("authorized_keys.d/{n}.pem");
        write(dir.path(), &name, &key.public_key().to_pem(), 0o644);
    }
    assert!(refusal(&dir).contains("65 keys"), "{}", refusal(&dir));
    assert_eq!(fingerprints(&dir).len(), MAX_KEYS);
}

#[test]
fn only_root_and_the_agents_own_user_may_be_able_to_write_keys() {
    let refused = |owner, group, mode| {
        let refused = check_rights(Path::new("/auth/public.pem"), owner, group, mode);
        refused.err().map(|error| error.to_string())
    };
    for (owner, group, mode) in
        [(0, 0, 0o644), (0, 0, 0o664), (0, 7, 0o755), (geteuid().as_raw(), 7, 0o600)]
    {
        assert_eq!(refused(owner, group, mode), None, "{owner} {group} {mode:o}");
    }
    let says = refused(4242, 0, 0o644).unwrap();
    assert!(says.contains("user 4242") && says.contains("chown root /auth/public.pem"), "{says}");
    let says = refused(0, 7, 0o664).unwrap();
    assert!(says.contains("group 7") && says.contains("chmod g-w"), "{says}");
    // A sticky directory, too: anybody may add a file to it.
    assert!(refused(0, 0, 0o41777).unwrap().contains("chmod o-w"));
}

#[test]
fn version_2_takes_every_kind_of_key() {
    for kind in [KeyType::Ed25519, KeyType::P256, KeyType::Rsa(2048)] {
        let operator = someone(kind);
        let dir = v2(kind, &operator);
        let keys = KeyDir::new(dir.path());
        keys.check(V2).unwrap();
        let credentials = keys.credentials().unwrap();
        assert_eq!(credentials.authorized, [operator.public_key()]);
        assert_ne!(credentials.identity.public_key(), operator.public_key());
        assert!(keys.is_authorized(&operator.public_key()));
        assert!(!keys.is_authorized(&credentials.identity.public_key()));
    }
}

#[test]
fn version_1_passes_over_keys_that_only_version_2_knows() {
    let (dir, key) = pair();
    let operator = someone(KeyType::Ed25519);
    write(dir.path(), "authorized_keys.d/a.pem", &operator.public_key().to_pem(), 0o644);
    KeyDir::new(dir.path()).check(BOTH).unwrap();
    assert_eq!(fingerprints(&dir), [key.public_key().fingerprint()]);
}

#[test]
fn a_short_key_is_for_version_1_alone() {
    let (dir, _) = pair();
    let keys = KeyDir::new(dir.path());
    keys.check(BOTH).unwrap();
    let reason = format!("{:#}", keys.credentials().unwrap_err());
    assert!(reason.contains("1024 bits are too short"), "{reason}");
    let refused = format!("{:#}", keys.check(V2).unwrap_err());
    assert!(refused.contains("v2 alone") && refused.contains("too short"), "{refused}");
}

#[test]
fn version_2_alone_needs_the_agents_own_key_and_version_1_alone_one_of_rsa() {
    let dir = v2(KeyType::Ed25519, &someone(KeyType::Ed25519));
    let keys = KeyDir::new(dir.path());
    keys.check(BOTH).unwrap();
    let refused = format!("{:#}", keys.check(V1).unwrap_err());
    assert!(refused.contains("none of the keys") && refused.contains("RSA"), "{refused}");
    fs::remove_file(dir.path().join("private.pem")).unwrap();
    let refused = format!("{:#}", keys.check(V2).unwrap_err());
    assert!(refused.contains("private.pem is missing"), "{refused}");
    assert!(refused.contains("--agent-key"), "{refused}");
}

#[test]
fn a_removed_key_is_not_authorised_and_the_stamp_tells() {
    let operator = someone(KeyType::Ed25519);
    let dir = v2(KeyType::P256, &operator);
    let keys = KeyDir::new(dir.path());
    let before = keys.stamp();
    assert_eq!(before, keys.stamp());
    fs::remove_file(dir.path().join("authorized_keys.d/a.pem")).unwrap();
    assert!(!keys.is_authorized(&operator.public_key()));
    let removed = keys.stamp();
    assert_ne!(before, removed);
    write(dir.path(), "public.pem", &operator.public_key().to_pem(), 0o644);
    assert!(keys.is_authorized(&operator.public_key()));
    assert_ne!(removed, keys.stamp());
}
