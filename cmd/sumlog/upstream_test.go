// Copyright 2026 The sumlog Authors.
// Use of this source code is governed by a BSD-style
// license that can be found in the LICENSE file.

package main

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/mod/module"

	"example.org/sumlog/internal/testupstream"
)

// cmdUpstream is the script command "upstream":
//
//	upstream start NAME DIR       start a server of the tree in DIR; sets $NAME to
//	                              its URL, $NAME_port to the port there, and
//	                              $NAME_vkey to its database's key
//	upstream stop NAME            connections fail from now on
//	upstream resume NAME          serve again, at the same address
//	upstream add NAME DIR         add, or replace, the versions in DIR
//	upstream remove NAME M@V      take a version away from the proxy
//	upstream fork NAME            its database begins another history
//	upstream fault NAME PATTERN KIND [ARG...]
//	                              misbehave: status CODE [HEADER VALUE]..., hang,
//	                              truncate, short, garbage, loop, endless, corrupt,
//	                              locked USER PASSWORD
//	upstream heal NAME            end all faults
//	upstream forget NAME          empty the record of requests
//	upstream requests NAME [PATTERN]
//	                              print the requests, for stdout to look at
//	upstream count NAME PATTERN N fail unless there were N such requests
//	upstream await NAME PATTERN   wait until there was such a request
func cmdUpstream(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: upstream VERB NAME [ARG...]")
	}
	verb, name, args := args[0], args[1], args[2:]
	servers := ts.Value(scriptKey{}).(*script).upstreams
	if verb == "start" {
		s, err := testupstream.New(name+".test/sumdb", scriptDir(ts, args))
		ts.Check(err)
		servers[name] = s
		ts.Setenv(name, s.URL)
		ts.Setenv(name+"_vkey", s.VKey)
		ts.Setenv(name+"_port", s.URL[strings.LastIndexByte(s.URL, ':')+1:])
		return
	}
	s := servers[name]
	if s == nil {
		ts.Fatalf("upstream %s was not started", name)
	}
	switch verb {
	case "stop":
		s.Stop()
	case "resume":
		ts.Check(s.Start())
	case "add":
		ts.Check(s.Add(scriptDir(ts, args)))
	case "remove":
		p, v, _ := strings.Cut(arg(ts, args, 0), "@")
		s.Remove(module.Version{Path: p, Version: v})
	case "fork":
		ts.Check(s.Fork())
	case "fault":
		f, err := parseFault(args[min(1, len(args)):])
		ts.Check(err)
		s.Fault(args[0], 0, f)
	case "heal":
		s.Heal()
	case "forget":
		s.Forget()
	case "requests":
		for _, r := range s.Requests(arg(ts, append(args, "*"), 0)) {
			fmt.Fprintln(ts.Stdout(), r)
		}
	case "count":
		list := s.Requests(arg(ts, args, 0))
		if got := strconv.Itoa(len(list)); got != arg(ts, args, 1) {
			ts.Fatalf("%s requests, want %s:\n%s", got, args[1], strings.Join(list, "\n"))
		}
	case "await":
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		ts.Check(s.Await(ctx, arg(ts, args, 0)))
	default:
		ts.Fatalf("upstream: unknown verb %q", verb)
	}
}

func arg(ts *testscript.TestScript, args []string, i int) string {
	if i >= len(args) {
		ts.Fatalf("upstream: missing argument")
	}
	return args[i]
}

func scriptDir(ts *testscript.TestScript, args []string) fs.FS {
	return os.DirFS(ts.MkAbs(arg(ts, args, 0)))
}

// parseFault makes a fault from its kind and arguments.
func parseFault(args []string) (testupstream.Fault, error) {
	if len(args) == 0 {
		return nil, fmt.Errorf("upstream: missing kind of fault")
	}
	if args[0] == "status" && len(args) >= 2 {
		code, err := strconv.Atoi(args[1])
		if err != nil || http.StatusText(code) == "" {
			return nil, fmt.Errorf("upstream: bad status %q", args[1])
		}
		return testupstream.Status(code, args[2:]...), nil
	}
	if args[0] == "locked" && len(args) == 3 {
		return testupstream.Locked(args[1], args[2]), nil
	}
	kinds := map[string]testupstream.Fault{
		"hang": testupstream.Hang, "truncate": testupstream.Truncate, "short": testupstream.Short,
		"garbage": testupstream.Garbage, "loop": testupstream.Loop, "endless": testupstream.Endless,
		"corrupt": testupstream.Corrupt,
	}
	f := kinds[args[0]]
	if f == nil || len(args) > 1 {
		return nil, fmt.Errorf("upstream: bad fault %q", args)
	}
	return f, nil
}
