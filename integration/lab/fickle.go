package lab

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/certmagic"
)

// fickle is Caddy's file storage with faults: `storage fickle <folder>`. They concern the keys of
// proxyos alone: Caddy itself does not start with a storage that fails. They are in a file beside the
// folder, so that a test can set those of a Caddy in another process.
type fickle struct {
	Root string `json:"root"`
	certmagic.FileStorage
}

// Faults is what is wrong with a fickle storage, by name of the operation.
type Faults struct {
	Fails map[string]syscall.Errno
	Slow  map[string]time.Duration // how long it takes
}

var (
	// ReadOnly lets all writing operations fail.
	ReadOnly = Faults{Fails: map[string]syscall.Errno{"lock": syscall.EROFS, "unlock": syscall.EROFS, "store": syscall.EROFS, "delete": syscall.EROFS}}
	// Full lets nothing be stored.
	Full = Faults{Fails: map[string]syscall.Errno{"store": syscall.ENOSPC}}
)

// Slow lets an operation take that long.
func Slow(operation string, duration time.Duration) Faults {
	return Faults{Slow: map[string]time.Duration{operation: duration}}
}

// OnFickle has a Caddyfile with global options use a storage that can fail.
func (s *Server) OnFickle(config string) string {
	return strings.Replace(config, "{\n", "{\n\tstorage fickle "+s.Store+"\n", 1)
}

// Spoil replaces the faults of the server's storage, which is fickle.
func (s *Server) Spoil(f Faults) {
	s.T.Helper()
	encoded, err := json.Marshal(f)
	if err != nil {
		s.T.Fatal(err)
	}
	Replace(s.T, faultsOf(s.Store), encoded)
}

// Heal ends all faults of the server's storage.
func (s *Server) Heal() {
	s.T.Helper()
	s.Spoil(Faults{})
}

// faultsOf returns the file with the faults of the storage in a folder.
func faultsOf(folder string) string { return folder + ".faults.json" }

func (f *fickle) try(ctx context.Context, operation, key string) error {
	if !strings.HasPrefix(key, "proxyos/") {
		return nil
	}
	var faults Faults
	switch encoded, err := os.ReadFile(faultsOf(f.Root)); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(encoded, &faults); err != nil {
			return err
		}
	}
	if fault := faults.Fails[operation]; fault != 0 {
		return fault
	}
	select {
	case <-time.After(faults.Slow[operation]):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (*fickle) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.storage.fickle", New: func() caddy.Module { return new(fickle) }}
}

func (f *fickle) CertMagicStorage() (certmagic.Storage, error) {
	f.FileStorage.Path = f.Root
	return f, nil
}

func (f *fickle) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&f.Root) {
		return d.ArgErr()
	}
	return nil
}

func (f *fickle) Lock(ctx context.Context, key string) error {
	if err := f.try(ctx, "lock", key); err != nil {
		return err
	}
	return f.FileStorage.Lock(ctx, key)
}

func (f *fickle) Unlock(ctx context.Context, key string) error {
	if err := f.try(ctx, "unlock", key); err != nil {
		return err
	}
	return f.FileStorage.Unlock(ctx, key)
}

func (f *fickle) Store(ctx context.Context, key string, value []byte) error {
	if err := f.try(ctx, "store", key); err != nil {
		return err
	}
	return f.FileStorage.Store(ctx, key, value)
}

func (f *fickle) Load(ctx context.Context, key string) ([]byte, error) {
	if err := f.try(ctx, "load", key); err != nil {
		return nil, err
	}
	return f.FileStorage.Load(ctx, key)
}

func (f *fickle) Delete(ctx context.Context, key string) error {
	if err := f.try(ctx, "delete", key); err != nil {
		return err
	}
	return f.FileStorage.Delete(ctx, key)
}

func init() { caddy.RegisterModule(new(fickle)) }
