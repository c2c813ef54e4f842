package lab

import (
	"context"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/certmagic"
)

// fickle is Caddy's file storage with faults: `storage fickle <folder>`. They are set for all
// of its instances, by name of the operation, and concern the keys of proxyos alone: Caddy
// itself does not start with a storage that fails.
type fickle struct {
	Root string `json:"root"`
	certmagic.FileStorage
}

var faults struct {
	mu    sync.Mutex
	fails map[string]error
	slow  map[string]time.Duration
}

// SetFaults replaces all faults.
func SetFaults(fails map[string]error, slow map[string]time.Duration) {
	faults.mu.Lock()
	defer faults.mu.Unlock()
	faults.fails, faults.slow = fails, slow
}

// Heal ends all faults.
func Heal() { SetFaults(nil, nil) }

// ReadOnly lets all writing operations fail.
func ReadOnly() {
	SetFaults(map[string]error{"lock": syscall.EROFS, "unlock": syscall.EROFS, "store": syscall.EROFS, "delete": syscall.EROFS}, nil)
}

// Full lets nothing be stored.
func Full() { SetFaults(map[string]error{"store": syscall.ENOSPC}, nil) }

// Slow lets an operation take that long.
func Slow(operation string, duration time.Duration) {
	SetFaults(nil, map[string]time.Duration{operation: duration})
}

func (f *fickle) try(ctx context.Context, operation, key string) error {
	if !strings.HasPrefix(key, "proxyos/") {
		return nil
	}
	faults.mu.Lock()
	err, wait := faults.fails[operation], faults.slow[operation]
	faults.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case <-time.After(wait):
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
