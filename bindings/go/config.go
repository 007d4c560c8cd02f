package metaxy

// #include <metaxy.h>
import "C"

import (
	"context"
	"runtime"
)

// Config is a configuration as Python Metaxy reads it: stores by name, with the chains that they fall back on.
type Config struct{ handle *owned[*C.MetaxyConfig] }

// LoadConfig loads the configuration in the file path; if that is empty, in the file that METAXY_CONFIG names, else in
// the nearest metaxy.toml or pyproject.toml, in the working directory or above it. It reads the environment of the
// process as C sees it, and os.Setenv changes that too.
func LoadConfig(path string) (*Config, error) {
	var config *C.MetaxyConfig
	err := call(context.Background(), func(f *frame) C.MetaxyStatus {
		return C.metaxy_config_load(f.optional(path), &config, &f.raw)
	})
	if err != nil {
		return nil, err
	}
	return &Config{own("configuration", config, func(config *C.MetaxyConfig) { C.metaxy_config_free(config) })}, nil
}

func (c *Config) owned() *owned[*C.MetaxyConfig] {
	if c == nil {
		return nil
	}
	return c.handle
}

// Open opens a store by its name, the default one if that is empty, with the whole chain of its fallback stores. The
// options go over what the configuration says. The store does not need the configuration any more.
func (c *Config) Open(ctx context.Context, name string, options ...Option) (*Store, error) {
	if err := c.owned().usable("configuration"); err != nil {
		return nil, err
	}
	defer runtime.KeepAlive(c)
	store, err := opened(ctx, func(f *frame, store **C.MetaxyStore) C.MetaxyStatus {
		return C.metaxy_config_open_store(c.handle.pointer, f.optional(name), f.options(options), f.handle, store, &f.raw)
	})
	return store, c.handle.orClosed(err)
}

// ConfiguredStore is a store of a configuration; Problem says what keeps it from being opened.
type ConfiguredStore struct {
	Name           string   `arrow:"name"`
	Type           string   `arrow:"type"`
	URI            string   `arrow:"uri"`
	FallbackStores []string `arrow:"fallback_stores"`
	HashAlgorithm  string   `arrow:"hash_algorithm"`
	Project        string   `arrow:"project"`
	IsDefault      bool     `arrow:"is_default"`
	File           string   `arrow:"file"`
	Problem        string   `arrow:"problem"`
}

// Stores lists the stores, sorted by name. Nothing is opened for it.
func (c *Config) Stores() ([]ConfiguredStore, error) {
	return collected[ConfiguredStore](c.owned().rows(context.Background(), "configuration", func(f *frame, config *C.MetaxyConfig, rows *C.struct_ArrowArrayStream) C.MetaxyStatus {
		return C.metaxy_config_stores(config, rows, &f.raw)
	}))
}

// Close frees the configuration; closing it again does nothing. Stores that were opened by it go on.
func (c *Config) Close() error {
	c.owned().close()
	return nil
}
