// SPDX-License-Identifier: MIT
// Node's own HTTP server on the inherited descriptor: node server.js FD
'use strict';
const http = require('http');

const server = http.createServer((request, response) => {
  const answer = request.url === '/pid' ? String(process.pid) : 'hello';
  const wait = request.url.startsWith('/sleep?') ? Number(request.url.slice(7)) * 1000 : 0;
  setTimeout(() => {
    response.setHeader('Content-Length', answer.length);
    response.end(answer);
  }, wait);
});
server.listen({ fd: Number(process.argv[2]) });
process.on('SIGTERM', () => server.close(() => process.exit(0)));
