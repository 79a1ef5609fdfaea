package tlsup

import (
	"context"
	"log/slog"
	"strings"

	"github.com/caddyserver/certmagic"
)

// The folders of certificates, one for each kind of key.
const (
	ecdsaFolder = "certificates"
	rsaFolder   = "certificates-rsa"
)

// acmeStorage keeps certificates of one kind of key apart from the others, which certmagic would put in the same files.
// The account and the locks are shared: there is one account, and orders for a name come one after the other.
type acmeStorage struct {
	*certmagic.FileStorage
	folder string
	log    *slog.Logger
}

// place is where a key of certmagic's is kept.
func (s acmeStorage) place(key string) string {
	if rest, ok := strings.CutPrefix(key, ecdsaFolder+"/"); ok {
		return s.folder + "/" + rest
	}
	return key
}

// Store implements certmagic.Storage. It tells of its failures itself: certmagic's way of telling them is among what
// nobody is bothered with.
func (s acmeStorage) Store(ctx context.Context, key string, value []byte) error {
	err := s.FileStorage.Store(ctx, s.place(key), value)
	if err != nil {
		s.log.Error("certificate folder cannot be written; free space, or mend its permissions", "folder", s.Path, "err", err)
	}
	return err
}

// Load implements certmagic.Storage.
func (s acmeStorage) Load(ctx context.Context, key string) ([]byte, error) {
	return s.FileStorage.Load(ctx, s.place(key))
}

// Delete implements certmagic.Storage.
func (s acmeStorage) Delete(ctx context.Context, key string) error {
	return s.FileStorage.Delete(ctx, s.place(key))
}

// Exists implements certmagic.Storage.
func (s acmeStorage) Exists(ctx context.Context, key string) bool {
	return s.FileStorage.Exists(ctx, s.place(key))
}

// List implements certmagic.Storage.
func (s acmeStorage) List(ctx context.Context, prefix string, recursive bool) ([]string, error) {
	return s.FileStorage.List(ctx, s.place(prefix), recursive)
}

// Stat implements certmagic.Storage.
func (s acmeStorage) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	return s.FileStorage.Stat(ctx, s.place(key))
}

// registering begins the names of the locks under which certmagic registers an account. The rest is an address that the
// account may have.
const registering = "register_acme_account"

// lock is the name of a lock. There is one account, and so one lock for who registers it: without an address certmagic
// takes the folder that another order is just making for one, and two accounts would share its two files.
func lock(name string) string {
	if strings.HasPrefix(name, registering) {
		return registering
	}
	return name
}

// Lock implements certmagic.Locker.
func (s acmeStorage) Lock(ctx context.Context, name string) error {
	return s.FileStorage.Lock(ctx, lock(name))
}

// Unlock implements certmagic.Locker.
func (s acmeStorage) Unlock(ctx context.Context, name string) error {
	return s.FileStorage.Unlock(ctx, lock(name))
}
