"""Who may log in to fastsshd: accounts, what they show for it, and the judgement (``gate.py``)."""
