"""A server for what a real one does seldom: answers that are lost, late or wrong."""
import http.server
import json
import threading


class Moody:
    """A server that answers as it is told, one after the other, and remembers what it was asked."""

    def __init__(self, *answers):
        moody = self
        self.answers, self.asked = list(answers), []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.answer(None)

            def do_POST(self):
                self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def answer(self, body):
                moody.asked.append((self.path, self.headers["Idempotency-Key"], body))
                answer = moody.answers.pop(0)
                if answer is None:  # the connection breaks; nobody knows what became of it
                    self.close_connection = True
                    return
                status, document = answer
                text = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass
        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
