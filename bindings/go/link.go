package metaxy

// The library is linked by its bare name: what `make install` puts under /usr/local is found without any setting, other
// places through CGO_CFLAGS and CGO_LDFLAGS, and nothing else has to be installed. With the build tag `pkgconfig`,
// pkg-config is asked instead; it is not the default because cgo then fails wherever there is no pkg-config, even where
// the compiler would find the library.

/*
#cgo !pkgconfig LDFLAGS: -lmetaxy
#cgo pkgconfig pkg-config: metaxy
*/
import "C"
