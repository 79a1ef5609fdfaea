package tlsup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxPEM bounds a PEM file in octets; a chain or a bundle of roots is a few hundred kilobytes at most.
const maxPEM = 4 << 20

// readPEM reads a small regular file; what is its role in an error.
func readPEM(path, what string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %s %s does not exist; check the path", ErrConfig, what, path)
	case errors.Is(err, fs.ErrPermission):
		return nil, unreadable(path, what, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", what, err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w: %s %s is not a file; name a PEM file", ErrConfig, what, path)
	case info.Size() > maxPEM:
		return nil, fmt.Errorf("%w: %s %s has %d octets; name a PEM file", ErrConfig, what, path, info.Size())
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, unreadable(path, what, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPEM))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", what, err)
	}
	return b, nil
}

func unreadable(path, what string, err error) error {
	return fmt.Errorf("%w: %s %s cannot be read by user id %d; let that user read it and enter its directories: %w",
		ErrConfig, what, path, os.Geteuid(), err)
}

// privateDir makes a directory that nobody else may enter.
func privateDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("make directory for keys: %w", err)
	}
	if err := os.Chmod(path, 0o700); err != nil {
		return fmt.Errorf("close directory for keys: %w", err)
	}
	return nil
}

// writeFile replaces a file as a whole: what is at path is always either the old or the new content.
func writeFile(path string, b []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
