use shared::vault::{keyset::Keyset, secret::KeyId};

use super::*;

fn text(id: u32) -> Zeroizing<String> {
    Keyset::generate(&Zeroizing::new([7; 64]), KeyId(id))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_file_is_private_and_replaced_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keyset.json");
    let file = KeysetFile::new(path.clone());
    assert!(matches!(file.read(), Err(StoreError::Missing(_))));
    file.create(&text(1)).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert!(matches!(file.create(&text(2)), Err(StoreError::Exists(_))));

    let first = file.read().unwrap();
    assert_eq!(first.keyset().unwrap().primary_id(), KeyId(1));
    let mut edit = first.edit().unwrap();
    edit.add(&Zeroizing::new([8; 64]), KeyId(2)).unwrap();
    file.replace(&first, &edit.to_json()).unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(file.read().unwrap().edit().unwrap().keys().count(), 2);

    let lost = file.replace(&first, &text(3));
    assert!(matches!(lost, Err(StoreError::Conflict(_))), "{lost:?}");
    assert_eq!(file.read().unwrap().edit().unwrap().keys().count(), 2);
    let entries = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(entries, 1, "no temporary file is left");
}

#[test]
fn a_link_stays_and_what_it_leads_to_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("volume");
    fs::create_dir(&there).unwrap();
    let (path, link) = (there.join("keyset.json"), folder.path().join("link.json"));
    KeysetFile::new(path.clone()).create(&text(1)).unwrap();
    std::os::unix::fs::symlink("volume/keyset.json", &link).unwrap();
    let file = KeysetFile::new(link.clone());
    assert!(matches!(file.create(&text(2)), Err(StoreError::Exists(_))));

    let read = file.read().unwrap();
    let mut edit = read.edit().unwrap();
    edit.add(&Zeroizing::new([8; 64]), KeyId(2)).unwrap();
    file.replace(&read, &edit.to_json()).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let keyset = KeysetFile::new(path.clone())
        .read()
        .unwrap()
        .edit()
        .unwrap();
    assert_eq!(keyset.keys().count(), 2);
    assert_eq!(mode(&path), 0o600);
}

/// Each of them adds a key to what it read, and tries again when it was too slow.
#[test]
fn of_many_writers_none_loses_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keyset.json");
    KeysetFile::new(path.clone()).create(&text(1)).unwrap();
    std::thread::scope(|scope| {
        for id in 2..10 {
            let file = KeysetFile::new(path.clone());
            scope.spawn(move || {
                loop {
                    let read = file.read().unwrap();
                    let mut edit = read.edit().unwrap();
                    edit.add(&Zeroizing::new([8; 64]), KeyId(id)).unwrap();
                    match file.replace(&read, &edit.to_json()) {
                        Ok(()) => break,
                        Err(StoreError::Conflict(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let keyset = KeysetFile::new(path.clone())
        .read()
        .unwrap()
        .edit()
        .unwrap();
    assert_eq!(keyset.keys().count(), 9);
}

#[test]
fn a_file_that_others_may_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keyset.json");
    KeysetFile::new(path.clone()).create(&text(1)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = KeysetFile::new(path.clone()).read().map(drop);
    assert!(
        matches!(
            refused,
            Err(StoreError::ReadableByOthers { mode: 0o640, .. })
        ),
        "{refused:?}"
    );
}
