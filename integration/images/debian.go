// Copyright The offload Authors.
// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// download extracts Debian packages, and all that they depend on, below dir/tree, and returns that.
func download(ctx context.Context, dir string, packages ...string) (string, error) {
	archives, tree, status := filepath.Join(dir, "archives"), filepath.Join(dir, "tree"), filepath.Join(dir, "status")
	for _, made := range []string{filepath.Join(archives, "partial"), tree} {
		if err := os.MkdirAll(made, 0o755); err != nil {
			return "", fmt.Errorf("download packages: %w", err)
		}
	}
	if err := os.WriteFile(status, nil, 0o644); err != nil {
		return "", fmt.Errorf("download packages: %w", err)
	}
	// As for a machine that has nothing installed, so that the answer does not depend on this one.
	args := []string{
		"-qq", "-y", "-o", "Dir::State::status=" + status, "-o", "Dir::Cache::archives=" + archives,
		"-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root", "--download-only", "--no-install-recommends", "install",
	}
	if err := run(ctx, "apt-get", append(args, packages...)...); err != nil {
		return "", fmt.Errorf("download packages: %w", err)
	}
	debs, err := filepath.Glob(filepath.Join(archives, "*.deb"))
	if err != nil {
		return "", fmt.Errorf("download packages: %w", err)
	}
	for _, deb := range debs {
		if err := run(ctx, "dpkg-deb", "-x", deb, tree); err != nil {
			return "", fmt.Errorf("extract package: %w", err)
		}
	}
	return tree, nil
}

func run(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// libraries finds the loader and the shared libraries that programs of the tree need, as paths in the tree.
func libraries(tree string, programs ...string) ([]string, error) {
	found := map[string]bool{}
	queue := slices.Clone(programs)
	for len(queue) > 0 {
		program := queue[0]
		queue = queue[1:]
		needs, err := neededBy(filepath.Join(tree, program))
		if err != nil {
			return nil, fmt.Errorf("libraries of %s: %w", program, err)
		}
		for _, need := range needs {
			path, err := findLibrary(tree, need)
			if err != nil {
				return nil, fmt.Errorf("libraries of %s: %w", program, err)
			}
			if !found[path] {
				found[path] = true
				queue = append(queue, path)
			}
		}
	}
	var paths []string
	for path := range found {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths, nil
}

// neededBy reads the names of the libraries, and the path of the loader, that an ELF file asks for.
func neededBy(path string) ([]string, error) {
	file, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	needs, err := file.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	if section := file.Section(".interp"); section != nil {
		loader, err := section.Data()
		if err != nil {
			return nil, err
		}
		needs = append(needs, strings.TrimRight(string(loader), "\x00"))
	}
	return needs, nil
}

// findLibrary finds a library by name, or the loader by path, in the tree.
func findLibrary(tree, name string) (string, error) {
	if strings.Contains(name, "/") {
		return strings.TrimPrefix(name, "/"), nil
	}
	for _, pattern := range []string{"lib/*-linux-gnu*", "usr/lib/*-linux-gnu*", "lib", "usr/lib", "lib64"} {
		found, err := filepath.Glob(filepath.Join(tree, pattern, name))
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return filepath.Rel(tree, found[0])
		}
	}
	return "", errors.New("no library " + name)
}
