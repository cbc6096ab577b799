"""`doctor`: looks for settings and states that break promises of the library, and says what to do.

`examining` asks the servers, once each; `servers` and `groups` judge the answers, without Redis; `findings` has the
words. A question that the user may not ask is a finding too: silence is not health.
"""
