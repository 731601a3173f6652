"""The Notification Manager page: server-rendered, htmx for what moves, no build step, nothing from elsewhere."""
