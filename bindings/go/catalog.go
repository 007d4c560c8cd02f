package metaxy

// #include <metaxy.h>
import "C"

import (
	"context"
	"time"
)

// Feature is a feature that is defined. Its versions are empty while a feature that it depends on is not defined.
type Feature struct {
	Key               string         `arrow:"feature"`
	Project           string         `arrow:"project"`
	Table             string         `arrow:"table"`
	External          bool           `arrow:"external"`
	IDColumns         []string       `arrow:"id_columns"`
	Fields            []FeatureField `arrow:"fields"`
	FeatureVersion    string         `arrow:"feature_version"`
	CodeVersion       string         `arrow:"code_version"`
	SpecVersion       string         `arrow:"spec_version"`
	DefinitionVersion string         `arrow:"definition_version"`
	ProjectVersion    string         `arrow:"project_version"`
}

// FeatureField is a field of a Feature.
type FeatureField struct {
	Key         string `arrow:"field"`
	CodeVersion string `arrow:"code_version"`
	Version     string `arrow:"field_version"`
}

// Features lists the features that are defined in the store, sorted by key.
func (s *Store) Features(ctx context.Context) ([]Feature, error) {
	return collected[Feature](s.rows(ctx, func(f *frame, store *C.MetaxyStore, rows *C.struct_ArrowArrayStream) C.MetaxyStatus {
		return C.metaxy_store_features(store, f.handle, rows, &f.raw)
	}))
}

// Serving is what a store of the chain said when it was asked for a feature: Outcome is "served", "absent", "no rows"
// or "unavailable", which Problem explains.
type Serving struct {
	Store   string  `arrow:"store"`
	URI     string  `arrow:"uri"`
	Table   string  `arrow:"table"`
	Version *uint64 `arrow:"version"`
	Outcome string  `arrow:"outcome"`
	Problem string  `arrow:"problem"`
}

// Find tells which stores of the chain would serve a read, in the order of asking, without reading the rows.
func (s *Store) Find(ctx context.Context, feature string, options ...ReadOption) ([]Serving, error) {
	return collected[Serving](s.rows(ctx, func(f *frame, store *C.MetaxyStore, rows *C.struct_ArrowArrayStream) C.MetaxyStatus {
		return C.metaxy_store_find(store, f.text(feature), f.request(newRequest(options)), f.handle, rows, &f.raw)
	}))
}

// Table is a table of a store; what is not known of it is empty, and Problem says what is wrong with it.
type Table struct {
	Feature              string    `arrow:"feature"`
	Name                 string    `arrow:"table"`
	Defined              bool      `arrow:"defined"`
	System               bool      `arrow:"system"`
	Rows                 *uint64   `arrow:"rows"`
	FeatureVersions      []string  `arrow:"feature_versions"`
	Fragments            *uint64   `arrow:"fragments"`
	Bytes                *uint64   `arrow:"bytes"`
	Version              *uint64   `arrow:"version"`
	HashAlgorithm        string    `arrow:"hash_algorithm"`
	HashTruncationLength string    `arrow:"hash_truncation_length"`
	LastWrite            time.Time `arrow:"last_write"`
	LastCommit           time.Time `arrow:"last_commit"`
	Problem              string    `arrow:"problem"`
}

// List lists the tables of the store itself, sorted by name, whether their features are defined or not.
func (s *Store) List(ctx context.Context) ([]Table, error) {
	return collected[Table](s.rows(ctx, func(f *frame, store *C.MetaxyStore, rows *C.struct_ArrowArrayStream) C.MetaxyStatus {
		return C.metaxy_store_list(store, f.handle, rows, &f.raw)
	}))
}

// Version is what the table of a feature has of one feature version. IsCurrent, Samples and Deleted are nil where the
// feature is not defined.
type Version struct {
	FeatureVersion  string    `arrow:"feature_version"`
	IsCurrent       *bool     `arrow:"is_current"`
	Rows            uint64    `arrow:"rows"`
	Samples         *uint64   `arrow:"samples"`
	Deleted         *uint64   `arrow:"deleted"`
	FirstWrite      time.Time `arrow:"first_write"`
	LastWrite       time.Time `arrow:"last_write"`
	ProjectVersions []string  `arrow:"project_versions"`
	Columns         []Column  `arrow:"columns"`
}

// Column is a column of a table.
type Column struct {
	Name string `arrow:"column"`
	Type string `arrow:"type"`
}

// Describe describes a feature of the store itself, version by version.
func (s *Store) Describe(ctx context.Context, feature string) ([]Version, error) {
	return collected[Version](s.rows(ctx, func(f *frame, store *C.MetaxyStore, rows *C.struct_ArrowArrayStream) C.MetaxyStatus {
		return C.metaxy_store_describe(store, f.text(feature), f.handle, rows, &f.raw)
	}))
}

// KnownOption is an option of the library; Default is nil where there is none.
type KnownOption struct {
	Key         string  `arrow:"key"`
	Type        string  `arrow:"type"`
	Scope       string  `arrow:"scope"`
	Default     *string `arrow:"default"`
	Description string  `arrow:"description"`
}

// Options lists every option that the library knows.
func Options() ([]KnownOption, error) {
	return collected[KnownOption](rows(context.Background(), func(f *frame, rows *C.struct_ArrowArrayStream) C.MetaxyStatus {
		return C.metaxy_options_list(rows, &f.raw)
	}))
}
