// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pelletier/go-toml/v2"
)

// Version is the version of the files' form that this package reads.
const Version = 1

const (
	// DefaultDPUPath is where the DPU's configuration is by default.
	DefaultDPUPath = "/etc/offload/dpu.toml"
	// DefaultHostPath is where the HOST's configuration is by default.
	DefaultHostPath = "/etc/offload/host.toml"
	// PathEnv is the environment variable that names another file, for programs
	// that are not given one on their command line.
	PathEnv = "OFFLOAD_CONFIG"
)

// maxFile bounds the size of a configuration file, in bytes.
const maxFile = 1 << 20

// PathFromEnv returns the path that [PathEnv] names, or fallback if it names
// none.
func PathFromEnv(fallback string) string {
	if path := os.Getenv(PathEnv); path != "" {
		return path
	}
	return fallback
}

// LoadDPU reads the DPU's configuration and makes sure that the certificates it
// names can be read. Its error says all that is wrong, see [Problems].
func LoadDPU(path string) (*DPU, error) {
	data, err := read(path, "dpu")
	if err != nil {
		return nil, err
	}
	return parseDPU(path, data, (*document).readable)
}

// LoadHost reads the HOST's configuration and makes sure that the certificates
// it names can be read. Its error says all that is wrong, see [Problems].
func LoadHost(path string) (*Host, error) {
	data, err := read(path, "host")
	if err != nil {
		return nil, err
	}
	return parseHost(path, data, (*document).readable)
}

// ParseDPU reads the DPU's configuration from data. It opens no file: name only
// says in errors where data is from.
func ParseDPU(name string, data []byte) (*DPU, error) { return parseDPU(name, data, nil) }

// ParseHost reads the HOST's configuration from data. It opens no file: name
// only says in errors where data is from.
func ParseHost(name string, data []byte) (*Host, error) { return parseHost(name, data, nil) }

// fileCheck reports a file that can't be used.
type fileCheck func(d *document, key, path string)

func parseDPU(name string, data []byte, files fileCheck) (*DPU, error) {
	c := DefaultDPU()
	d, err := decode(name, data, c, dpuSchema, hostSchema)
	if err != nil {
		return nil, err
	}
	c.check(d)
	c.Link.TLS.checkFiles(d, files)
	if len(d.problems) > 0 {
		return nil, asError(d.problems)
	}
	return c, nil
}

func parseHost(name string, data []byte, files fileCheck) (*Host, error) {
	c := DefaultHost()
	d, err := decode(name, data, c, hostSchema, dpuSchema)
	if err != nil {
		return nil, err
	}
	c.check(d)
	c.Link.TLS.checkFiles(d, files)
	if len(d.problems) > 0 {
		return nil, asError(d.problems)
	}
	return c, nil
}

// decode fills c, which holds the defaults. Values are only looked at once
// every key is known and every value has the right type.
func decode(name string, data []byte, c any, root, other *field) (*document, error) {
	d, err := scan(name, data, root, other)
	if err != nil {
		return nil, err
	}
	if len(d.problems) > 0 {
		return nil, asError(d.problems)
	}
	if err := toml.Unmarshal(data, c); err != nil {
		return nil, d.syntax(err)
	}
	return d, nil
}

// read returns the text of a file. example names its example for offloadctl.
func read(path, example string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read configuration: %w; \"offloadctl config %s\" prints an example", err, example)
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("read configuration %s: it has more than %d bytes", path, maxFile)
	}
	return data, nil
}
