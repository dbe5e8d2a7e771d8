// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package admit

import (
	"context"

	"example.org/sumlog/mirror/upstream"
)

// Route makes an [upstream.Router] the Router of a service.
func Route(r *upstream.Router) Router { return router{r} }

type router struct{ *upstream.Router }

func (r router) For(path string) (Chain, bool, error) {
	c, private, err := r.Router.For(path)
	if err != nil {
		return nil, false, err
	}
	return chain{c}, private, nil
}

// chain gives the sources of an upstream.Chain the type that this package
// knows them by.
type chain struct{ *upstream.Chain }

func (c chain) Get(ctx context.Context, name string, limit int64) ([]byte, Source, error) {
	data, src, err := c.Chain.Get(ctx, name, limit)
	if err != nil {
		return nil, nil, err
	}
	return data, src, nil
}

func (c chain) Before(src Source) Chain {
	s, _ := src.(*upstream.Source)
	return chain{c.Chain.Before(s)}
}

func (c chain) After(src Source) Chain {
	s, _ := src.(*upstream.Source)
	return chain{c.Chain.After(s)}
}

func (c chain) Download(ctx context.Context, name string, f upstream.File, limit int64) (Source, error) {
	src, err := c.Chain.Download(ctx, name, f, limit)
	if err != nil {
		return nil, err
	}
	return src, nil
}
